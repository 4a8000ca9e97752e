//! The six collections of the application.

use std::fmt;

/// A collection of the application.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Collection {
    /// Companies, charities and similar bodies that people belong to.
    Organisations,
    /// People with an account.
    Users,
    /// Business plans with their milestones embedded.
    Plans,
    /// Collected research with its sources embedded.
    ResearchPacks,
    /// Ordered parts of a plan.
    Sections,
    /// Forecasts of a plan.
    FinancialModels,
}

impl Collection {
    /// All collections, each after those it refers to.
    pub const ALL: [Self; 6] =
        [Self::Organisations, Self::Users, Self::Plans, Self::ResearchPacks, Self::Sections, Self::FinancialModels];

    /// Returns the name in MongoDB.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Organisations => "organisations",
            Self::Users => "users",
            Self::Plans => "plans",
            Self::ResearchPacks => "research_packs",
            Self::Sections => "sections",
            Self::FinancialModels => "financial_models",
        }
    }
}

impl fmt::Display for Collection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
