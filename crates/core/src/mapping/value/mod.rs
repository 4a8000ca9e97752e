//! Values: what each BSON value becomes in each column type, and what is given up or refused on the way.

pub(crate) mod bson_type;
pub(crate) mod convert;
pub(crate) mod geometry;
pub(crate) mod id;
pub(crate) mod json;
pub(crate) mod literal;
pub(crate) mod losses;
pub(crate) mod number;
pub(crate) mod policy;
pub(crate) mod prepare;
pub(crate) mod raw;
pub(crate) mod scalar;
pub(crate) mod text;
pub(crate) mod time;
