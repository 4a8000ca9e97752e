//! What is wrong with a connection string that the client does not take: most were written for another program.

use super::Error;

/// Where a string that stands at the beginning, or a parameter, comes from, and what to take out.
const HINTS: [(&str, &str); 6] = [
    ("\"", "take the quotes out: the value is the connection string alone"),
    ("'", "take the quotes out: the value is the connection string alone"),
    (
        "jdbc:",
        "take `jdbc:` out, and write user and password before the host: postgresql://user:password@host:5432/database",
    ),
    ("psql ", "take `psql` out: the value is the connection string alone"),
    ("postgresql+", "take `+` and the name of the driver out: postgresql://user:password@host:5432/database"),
    ("postgres+", "take `+` and the name of the driver out: postgresql://user:password@host:5432/database"),
];
const FORM: &str = "write it as postgresql://user:password@host:5432/database; in user and password, %40 is written for @, %2F \
                    for / and %23 for #";
const PARAMETER: &str = "take that parameter out: ORMs and drivers write parameters that PostgreSQL does not know, such as \
                         schema, connection_limit, pool_timeout, pgbouncer, currentSchema and ssl; tables are named with their \
                         schema in the mapping";

/// The error for a string that the client refuses. Of the string, only the name of a parameter is repeated.
pub(crate) fn refused(url: &str, error: &tokio_postgres::Error) -> Error {
    let what = crate::retry::chain(error);
    let known = HINTS.iter().find(|(start, _)| url.starts_with(start)).map(|(_, hint)| *hint);
    let hint = known.unwrap_or(if what.contains("unknown option") { PARAMETER } else { FORM });
    Error::Url { what, hint }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::quotes("\"postgresql://u:hunter2@h/d\"", "take the quotes out")]
    #[case::single("'postgresql://u:hunter2@h/d'", "take the quotes out")]
    #[case::jdbc("jdbc:postgresql://h/d?user=u&password=hunter2", "take `jdbc:` out")]
    #[case::prisma("postgresql://u:hunter2@h/d?schema=public", "take that parameter out")]
    #[case::pool("postgresql://u:hunter2@h/d?connection_limit=5&pool_timeout=2", "take that parameter out")]
    #[case::driver("postgresql+asyncpg://u:hunter2@h/d", "take `+`")]
    #[case::psql("psql postgresql://u:hunter2@h/d", "take `psql` out")]
    #[case::port("postgresql://u:hunter2@h:port/d", "write it as")]
    fn what_to_take_out_is_said(#[case] url: &str, #[case] hint: &str) {
        let error = url.parse::<tokio_postgres::Config>().expect_err("it is refused");
        let error = refused(url, &error);
        assert!(error.hint().is_some_and(|said| said.starts_with(hint)), "{:?}", error.hint());
        let told = crate::retry::chain(&error);
        assert!(!told.contains("hunter2"), "{told}");
    }
}
