//! Explains why the client refuses a connection string; most such strings were written for another program.

use super::Error;

/// Beginnings of strings for other programs, with the remedy.
const HINTS: [(&str, &str); 6] = [
    ("\"", "remove the quotes: the value is the connection string alone"),
    ("'", "remove the quotes: the value is the connection string alone"),
    (
        "jdbc:",
        "remove `jdbc:`, and write user and password before the host: postgresql://user:password@host:5432/database",
    ),
    ("psql ", "remove `psql`: the value is the connection string alone"),
    ("postgresql+", "remove `+` and the name of the driver: postgresql://user:password@host:5432/database"),
    ("postgres+", "remove `+` and the name of the driver: postgresql://user:password@host:5432/database"),
];
const FORM: &str = "write it as postgresql://user:password@host:5432/database; in user and password, %40 is written for @, %2F \
                    for / and %23 for #";
const PARAMETER: &str = "remove that parameter: ORMs and drivers write parameters that PostgreSQL does not know, such as \
                         schema, connection_limit, pool_timeout, pgbouncer, currentSchema and ssl; tables are named with their \
                         schema in the mapping";

/// Builds the error for a refused string. It repeats only the name of a parameter.
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
    #[case::quotes("\"postgresql://u:hunter2@h/d\"", "remove the quotes")]
    #[case::single("'postgresql://u:hunter2@h/d'", "remove the quotes")]
    #[case::jdbc("jdbc:postgresql://h/d?user=u&password=hunter2", "remove `jdbc:`")]
    #[case::prisma("postgresql://u:hunter2@h/d?schema=public", "remove that parameter")]
    #[case::pool("postgresql://u:hunter2@h/d?connection_limit=5&pool_timeout=2", "remove that parameter")]
    #[case::driver("postgresql+asyncpg://u:hunter2@h/d", "remove `+`")]
    #[case::psql("psql postgresql://u:hunter2@h/d", "remove `psql`")]
    #[case::port("postgresql://u:hunter2@h:port/d", "write it as")]
    fn what_to_take_out_is_said(#[case] url: &str, #[case] hint: &str) {
        let error = url.parse::<tokio_postgres::Config>().expect_err("it is refused");
        let error = refused(url, &error);
        assert!(error.hint().is_some_and(|said| said.starts_with(hint)), "{:?}", error.hint());
        let text = crate::retry::chain(&error);
        assert!(!text.contains("hunter2"), "{text}");
    }
}
