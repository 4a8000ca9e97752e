//! Types of columns: what PostgreSQL stores there, and in which form a value travels to it.

use std::fmt;

/// The types that values can be converted to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ColumnType {
    /// `boolean`
    Bool,
    /// `smallint`
    Int2,
    /// `integer`
    Int4,
    /// `bigint`
    Int8,
    /// `real`
    Float4,
    /// `double precision`
    Float8,
    /// `numeric`, `numeric(p, s)`
    Numeric {
        /// Digits in all; `None` without a limit, then `scale` says nothing.
        precision: Option<u16>,
        /// Digits after the point; negative rounds before it (PostgreSQL 15 and later).
        scale: i16,
    },
    /// `text`
    Text,
    /// `varchar(n)`, `varchar`
    Varchar(Option<u32>),
    /// `char(n)`, `bpchar`
    Bpchar(Option<u32>),
    /// `citext`
    Citext,
    /// `uuid`
    Uuid,
    /// `date`
    Date,
    /// `timestamp(p) without time zone`
    Timestamp {
        /// Digits of the second, 0 to 6.
        precision: u8,
    },
    /// `timestamp(p) with time zone`
    Timestamptz {
        /// Digits of the second, 0 to 6.
        precision: u8,
    },
    /// `json`
    Json,
    /// `jsonb`
    Jsonb,
    /// `bytea`
    Bytea,
    /// `time(p) without time zone`
    Time {
        /// Digits of the second, 0 to 6.
        precision: u8,
    },
    /// `time(p) with time zone`
    Timetz {
        /// Digits of the second, 0 to 6.
        precision: u8,
    },
    /// `interval`, `interval(p)`, `interval year to month` and their like
    Interval {
        /// Digits of the second, 0 to 6.
        precision: u8,
        /// The smallest unit it keeps.
        finest: Finest,
    },
    /// `bit(n)`: exactly so many bits
    Bit(u32),
    /// `bit varying(n)`, `bit varying`
    Varbit(Option<u32>),
    /// `money`
    Money {
        /// Digits after the point, as the server's `lc_monetary` has it.
        scale: u8,
    },
    /// `point`
    Point,
    /// A range over another type.
    Range(Box<ColumnType>),
    /// A multirange over another type.
    Multirange(Box<ColumnType>),
    /// `hstore`
    Hstore,
    /// `ltree`
    Ltree,
    /// `tsvector`
    Tsvector,
    /// `vector(n)`, `vector`
    Vector(Option<u32>),
    /// Any other base type, written in its own text form, which PostgreSQL checks.
    Other {
        /// Its name.
        name: String,
        /// The delimiter of elements in an array of it.
        delimiter: u8,
    },
    /// An enumerated type.
    Enum {
        /// Its oid.
        oid: u32,
        /// Its labels.
        labels: Vec<String>,
    },
    /// A domain over another type. PostgreSQL checks its constraints when the row is written.
    Domain(Box<ColumnType>),
    /// An array of scalars. The number of dimensions is not part of a type in PostgreSQL.
    Array(Box<ColumnType>),
    /// Anything else, by its name: composite types, and those whose input cuts silently or names things of the catalog.
    Unsupported(String),
}

/// The smallest unit that an `interval` column keeps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Finest {
    /// `interval year`
    Year,
    /// `interval year to month`, `interval month`
    Month,
    /// `interval day`
    Day,
    /// `interval day to hour`, `interval hour`
    Hour,
    /// `interval day to minute` and their like
    Minute,
    /// Everything else.
    #[default]
    Second,
}

impl ColumnType {
    /// The built-in type of that oid and type modifier (`pg_attribute.atttypid`, `atttypmod`), or [`Self::Unsupported`].
    ///
    /// Enumerated types, domains, arrays, ranges and the types of extensions have no fixed oid: the reader of the catalog
    /// resolves them and calls this for what they are made of.
    ///
    /// Source: `numerictypmodin`, `anychar_typmodin`, `anytimestamp_typmod_check`, `intervaltypmodin` and `anybit_typmodin`
    /// of PostgreSQL.
    pub fn builtin(oid: u32, typmod: i32, name: &str) -> Self {
        let length = typmod.checked_sub(4).and_then(|length| u32::try_from(length).ok());
        let bits = u32::try_from(typmod).ok();
        let precision = u8::try_from(typmod).unwrap_or(6);
        match oid {
            16 => Self::Bool,
            17 => Self::Bytea,
            20 => Self::Int8,
            21 => Self::Int2,
            23 => Self::Int4,
            25 => Self::Text,
            114 => Self::Json,
            600 => Self::Point,
            700 => Self::Float4,
            701 => Self::Float8,
            1042 => Self::Bpchar(length),
            1043 => Self::Varchar(length),
            1082 => Self::Date,
            1083 => Self::Time { precision },
            1114 => Self::Timestamp { precision },
            1184 => Self::Timestamptz { precision },
            1186 => interval(typmod),
            1266 => Self::Timetz { precision },
            1560 => Self::Bit(bits.unwrap_or(1)),
            1562 => Self::Varbit(bits),
            1700 => numeric(typmod),
            2950 => Self::Uuid,
            3614 => Self::Tsvector,
            3802 => Self::Jsonb,
            603 => Self::Other { name: name.to_owned(), delimiter: b';' },
            _ if SUPPORTED_BY_TEXT.contains(&oid) => Self::Other { name: name.to_owned(), delimiter: b',' },
            _ => Self::Unsupported(name.to_owned()),
        }
    }

    /// The base type of that name that is not the system's own: an extension's, known by its name, or written as text.
    pub fn extension(name: &str, typmod: i32, delimiter: u8) -> Self {
        match name {
            "citext" => Self::Citext,
            "hstore" => Self::Hstore,
            "ltree" => Self::Ltree,
            "vector" => Self::Vector(u32::try_from(typmod).ok()),
            _ => Self::Other { name: name.to_owned(), delimiter },
        }
    }

    /// The type below all domains.
    pub fn base(&self) -> &Self {
        match self {
            Self::Domain(inner) => inner.base(),
            other => other,
        }
    }

    /// Name and oid of the type in which a value of this type travels to PostgreSQL.
    ///
    /// It is never one that truncates or pads: texts of every kind, labels, bits and whole arrays travel as `text` and are
    /// cast to the column's type there, after their length was checked here.
    pub(crate) fn param(&self) -> (&'static str, u32) {
        match self.base() {
            Self::Bool => ("bool", 16),
            Self::Int2 => ("int2", 21),
            Self::Int4 => ("int4", 23),
            Self::Int8 => ("int8", 20),
            Self::Float4 => ("float4", 700),
            Self::Float8 => ("float8", 701),
            // Money as text would be read by the server's locale.
            Self::Numeric { .. } | Self::Money { .. } => ("numeric", 1700),
            Self::Uuid => ("uuid", 2950),
            Self::Date => ("date", 1082),
            Self::Time { .. } => ("time", 1083),
            Self::Timetz { .. } => ("timetz", 1266),
            Self::Interval { .. } => ("interval", 1186),
            Self::Point => ("point", 600),
            Self::Timestamp { .. } => ("timestamp", 1114),
            Self::Timestamptz { .. } => ("timestamptz", 1184),
            Self::Json => ("json", 114),
            Self::Jsonb => ("jsonb", 3802),
            Self::Bytea => ("bytea", 17),
            Self::Text
            | Self::Varchar(_)
            | Self::Bpchar(_)
            | Self::Citext
            | Self::Enum { .. }
            | Self::Bit(_)
            | Self::Varbit(_)
            | Self::Range(_)
            | Self::Multirange(_)
            | Self::Hstore
            | Self::Ltree
            | Self::Tsvector
            | Self::Vector(_)
            | Self::Other { .. }
            | Self::Array(_)
            | Self::Domain(_)
            | Self::Unsupported(_) => ("text", 25),
        }
    }
}

/// Built-in types that are written in their own text form and refuse what is none with SQLSTATE class 22: `inet`, `cidr`,
/// `macaddr`, `macaddr8`, `xml`, `lseg`, `path`, `polygon`, `line`, `circle`, `oid`, `tid`, `xid`, `cid`, `xid8`, `pg_lsn`,
/// `pg_snapshot`, `txid_snapshot`, `refcursor`.
///
/// Not among them: `name` and `"char"`, which cut silently; `jsonpath` and `tsquery`, which refuse with a syntax error, as a
/// wrong statement would; the `reg…` types, which name things of the catalog.
const SUPPORTED_BY_TEXT: [u32; 19] =
    [869, 650, 829, 774, 142, 601, 602, 604, 628, 718, 26, 27, 28, 29, 5069, 3220, 5038, 2970, 1790];

/// The low half holds the precision, the high one a set of fields; all bits set is no limit.
fn interval(typmod: i32) -> ColumnType {
    const FIELDS: [(i32, Finest); 6] = [
        (12, Finest::Second),
        (11, Finest::Minute),
        (10, Finest::Hour),
        (3, Finest::Day),
        (1, Finest::Month),
        (2, Finest::Year),
    ];
    if typmod < 0 {
        return ColumnType::Interval { precision: 6, finest: Finest::Second };
    }
    let precision = u8::try_from(typmod & 0xffff).map_or(6, |digits| digits.min(6));
    let fields = typmod >> 16;
    let finest = FIELDS.iter().find(|(bit, _)| fields & (1 << bit) != 0).map_or(Finest::Second, |(_, finest)| *finest);
    ColumnType::Interval { precision, finest }
}

fn numeric(typmod: i32) -> ColumnType {
    match typmod.checked_sub(4).and_then(|packed| u32::try_from(packed).ok()) {
        None => ColumnType::Numeric { precision: None, scale: 0 },
        // 11 bits of scale, two's complement.
        Some(packed) => ColumnType::Numeric {
            precision: Some((packed >> 16) as u16),
            scale: (((packed & 0x7ff) ^ 1024) as i16) - 1024,
        },
    }
}

/// The type in words, without its modifier; used in faults.
impl fmt::Display for ColumnType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Varchar(_) => f.write_str("varchar"),
            Self::Bpchar(_) => f.write_str("char"),
            Self::Citext => f.write_str("citext"),
            Self::Enum { .. } => f.write_str("enum"),
            Self::Bit(_) => f.write_str("bit"),
            Self::Varbit(_) => f.write_str("varbit"),
            Self::Money { .. } => f.write_str("money"),
            Self::Range(of) => write!(f, "range of {of}"),
            Self::Multirange(of) => write!(f, "multirange of {of}"),
            Self::Hstore => f.write_str("hstore"),
            Self::Ltree => f.write_str("ltree"),
            Self::Tsvector => f.write_str("tsvector"),
            Self::Vector(_) => f.write_str("vector"),
            Self::Domain(inner) => write!(f, "domain over {inner}"),
            Self::Array(element) => write!(f, "{element}[]"),
            Self::Other { name, .. } | Self::Unsupported(name) => f.write_str(name),
            other => f.write_str(other.param().0),
        }
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case(1700, -1, ColumnType::Numeric { precision: None, scale: 0 })]
    #[case(1700, (10 << 16 | 2) + 4, ColumnType::Numeric { precision: Some(10), scale: 2 })]
    #[case(1700, (3 << 16 | (-2 & 0x7ff)) + 4, ColumnType::Numeric { precision: Some(3), scale: -2 })]
    #[case(1043, 14, ColumnType::Varchar(Some(10)))]
    #[case(1043, -1, ColumnType::Varchar(None))]
    #[case(1042, 5, ColumnType::Bpchar(Some(1)))]
    #[case(1184, -1, ColumnType::Timestamptz { precision: 6 })]
    #[case(1114, 0, ColumnType::Timestamp { precision: 0 })]
    #[case(142, -1, ColumnType::Other { name: "xml".to_owned(), delimiter: b',' })]
    #[case::name_cuts_silently(19, -1, ColumnType::Unsupported("xml".to_owned()))]
    #[case(1560, 3, ColumnType::Bit(3))]
    #[case(1562, -1, ColumnType::Varbit(None))]
    #[case(1083, 2, ColumnType::Time { precision: 2 })]
    #[case(1186, -1, ColumnType::Interval { precision: 6, finest: Finest::Second })]
    #[case::interval_3(1186, 2_147_418_115, ColumnType::Interval { precision: 3, finest: Finest::Second })]
    #[case::year_to_month(1186, 458_751, ColumnType::Interval { precision: 6, finest: Finest::Month })]
    #[case::day_to_second_2(1186, 470_286_338, ColumnType::Interval { precision: 2, finest: Finest::Second })]
    fn reads_type_modifiers(#[case] oid: u32, #[case] typmod: i32, #[case] expected: ColumnType) {
        assert_eq!(ColumnType::builtin(oid, typmod, "xml"), expected);
    }
}
