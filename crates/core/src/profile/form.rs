//! Which column types and which id rules take a value: decided by the conversion that the daemon itself uses.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::mapping::{Id, IdRule, IdStep, IdType, Losses, REFUSING, Value, convert, identity_text, target::ColumnType};

/// A column type that scalars may fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Form {
    /// `boolean`
    Boolean,
    /// `integer`
    Integer,
    /// `bigint`
    Bigint,
    /// `double precision`
    Double,
    /// `numeric`
    Numeric,
    /// `timestamptz`
    Timestamptz,
    /// `uuid`
    Uuid,
    /// `bytea`
    Bytea,
    /// `text`
    Text,
}

/// A sort of `_id`, by the id rules that take it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum IdForm {
    /// An ObjectId, and in a reference its text.
    ObjectId,
    /// A text that can be a key as it is.
    Text,
    /// A text of any length, by its hash.
    HashedText,
    /// A whole number.
    Integer,
    /// A UUID, and in a reference its text.
    Uuid,
    /// Any of these: none of the texts reads like another sort.
    Mixed,
}

static FORMS: [(Form, ColumnType); 9] = [
    (Form::Boolean, ColumnType::Bool),
    (Form::Integer, ColumnType::Int4),
    (Form::Bigint, ColumnType::Int8),
    (Form::Double, ColumnType::Float8),
    (Form::Numeric, ColumnType::Numeric { precision: None, scale: 0 }),
    (Form::Timestamptz, ColumnType::Timestamptz { precision: 6 }),
    (Form::Uuid, ColumnType::Uuid),
    (Form::Bytea, ColumnType::Bytea),
    (Form::Text, ColumnType::Text),
];

const ID_FORMS: [(IdForm, IdRule, Option<IdType>); 6] = [
    (IdForm::ObjectId, IdRule::Hex, None),
    (IdForm::Text, IdRule::Text, None),
    (IdForm::HashedText, IdRule::Uuid5, Some(IdType::String)),
    (IdForm::Integer, IdRule::Integer, None),
    (IdForm::Uuid, IdRule::Uuid, None),
    (IdForm::Mixed, IdRule::Uuid5, None),
];

/// The members of a small set that every value seen so far fits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fitting(u16);

impl Default for Fitting {
    /// Nothing has been refused yet.
    fn default() -> Self {
        Self(u16::MAX)
    }
}

impl Fitting {
    /// No member, for values that are no scalars.
    pub(super) fn none(&mut self) {
        self.0 = 0;
    }

    /// Adds the refusals of another set.
    pub(super) fn and(&mut self, other: Self) {
        self.0 &= other.0;
    }

    fn keep_if(&mut self, place: usize, fits: impl FnOnce() -> bool) {
        let bit = 1 << place;
        if self.0 & bit != 0 && !fits() {
            self.0 &= !bit;
        }
    }

    fn members<T: Copy>(self, all: impl Iterator<Item = T>) -> Vec<T> {
        all.enumerate().filter(|(place, _)| self.0 & (1 << place) != 0).map(|(_, member)| member).collect()
    }

    /// Strikes out the column types that refuse the value or lose a part of it.
    pub(super) fn column(&mut self, value: Value<'_>, room: &mut Vec<u8>) {
        for (place, (_, kind)) in FORMS.iter().enumerate() {
            self.keep_if(place, || {
                room.clear();
                let mut losses = Losses::default();
                convert::write(value, kind, None, &REFUSING, &mut losses, room).is_ok() && losses.is_empty()
            });
        }
    }

    /// Strikes out the sorts of id that the `_id` does not have.
    pub(super) fn own(&mut self, value: Value<'_>) {
        let has_nul = |id: &Id<'_>| matches!(id, Id::Text(text) if text.contains('\0'));
        self.ids(|rule| rule, |rule| rule.own(value).is_ok_and(|id| !has_nul(&id)));
    }

    /// Strikes out the sorts of id that the value cannot refer to. A lookup takes what a hash takes, and costs less.
    pub(super) fn reference(&mut self, value: Value<'_>) {
        let cheap = |rule| if rule == IdRule::Uuid5 { IdRule::Lookup } else { rule };
        self.ids(cheap, |rule| rule.reference(value).is_ok());
    }

    fn ids(&mut self, as_rule: fn(IdRule) -> IdRule, fits: impl Fn(&IdStep) -> bool) {
        for (place, (_, rule, only)) in ID_FORMS.into_iter().enumerate() {
            self.keep_if(place, || fits(&IdStep::new(as_rule(rule), only, Uuid::NAMESPACE_DNS)));
        }
    }

    /// The column types that are left.
    pub(super) fn forms(self) -> Vec<Form> {
        self.members(FORMS.iter().map(|(form, _)| *form))
    }

    /// The sorts of id that are left.
    pub(super) fn id_forms(self) -> Vec<IdForm> {
        self.members(ID_FORMS.into_iter().map(|(form, ..)| form))
    }
}

/// The bytes by which a value and a reference to it are the same; `None` for a value that identifies nothing.
pub(super) fn identity(value: Value<'_>) -> Option<Cow<'_, [u8]>> {
    let text = identity_text(value)?;
    // Applications store ObjectIds and UUIDs also as texts, in either case.
    let is_id =
        |text: &str| matches!(text.len(), 24 | 36) && text.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-');
    Some(match text {
        text if is_id(&text) => Cow::Owned(text.to_ascii_lowercase().into_bytes()),
        Cow::Borrowed(text) => Cow::Borrowed(text.as_bytes()),
        Cow::Owned(text) => Cow::Owned(text.into_bytes()),
    })
}

#[cfg(test)]
mod tests {
    use bson::{Bson, oid::ObjectId};
    use rstest::rstest;

    use super::*;

    fn forms(values: impl IntoIterator<Item = Bson>) -> (Vec<Form>, Vec<IdForm>, Vec<IdForm>) {
        let (mut fits, mut own, mut refers) = (Fitting::default(), Fitting::default(), Fitting::default());
        for value in values {
            let raw = bson::rawdoc! { "v": bson::raw::RawBson::try_from(value).expect("BSON") };
            let field = crate::mapping::Raw::new(raw.as_bytes()).fields().next().expect("a field");
            let (_, value) = field.expect("well-formed");
            fits.column(value, &mut Vec::new());
            own.own(value);
            refers.reference(value);
        }
        (fits.forms(), own.id_forms(), refers.id_forms())
    }

    #[rstest]
    #[case::whole(vec![Bson::Int32(1), Bson::Double(2.0)], vec![Form::Integer, Form::Bigint, Form::Double, Form::Numeric, Form::Text])]
    #[case::fraction(vec![Bson::Int64(i64::MAX), Bson::Double(0.5)], vec![Form::Numeric, Form::Text])]
    #[case::no_number(vec![Bson::Double(f64::NAN)], vec![Form::Double, Form::Numeric, Form::Text])]
    #[case::texts(vec!["a".into(), 7.into()], vec![Form::Text])]
    #[case::nul(vec!["a\0b".into()], vec![])]
    #[case::far_date(vec![Bson::DateTime(bson::DateTime::MAX)], vec![])]
    fn a_value_fits_what_takes_it_without_loss(#[case] values: Vec<Bson>, #[case] expected: Vec<Form>) {
        assert_eq!(forms(values).0, expected);
    }

    #[test]
    fn ids_and_references_have_forms() {
        let id = ObjectId::new();
        let (_, own, refers) = forms([id.into()]);
        assert_eq!(own, [IdForm::ObjectId, IdForm::Mixed]);
        assert_eq!(refers, [IdForm::ObjectId, IdForm::Mixed]);
        let (_, own, refers) = forms([id.to_hex().into()]);
        assert_eq!(own, [IdForm::Text, IdForm::HashedText]);
        assert_eq!(refers, [IdForm::ObjectId, IdForm::Text, IdForm::HashedText, IdForm::Mixed]);
        let (_, own, _) = forms([7.into(), "a".into()]);
        assert_eq!(own, [IdForm::Mixed]);
        let (_, own, _) = forms([bson::doc! { "a": 1 }.into()]);
        assert!(own.is_empty());
    }
}
