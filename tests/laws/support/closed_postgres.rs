//! Makes a PostgreSQL server of a test's own speak TLS, and ask roles of the test for a password or a certificate.

use tokio_postgres::Client;

use super::{
    DEADLINE,
    authority::{Authority, Certified},
    wait,
};

/// The password of a role that needs one.
pub(crate) const PASSWORD: &str = "open-to-postgresql";

/// Lets a role connect with TLS and this method of `pg_hba.conf` alone; other roles connect as before.
pub(crate) async fn admit(superuser: &Client, role: &str, method: &str) {
    let create = format!("CREATE ROLE {role} SUPERUSER LOGIN PASSWORD '{PASSWORD}'");
    superuser.batch_execute(&create).await.expect("make the role");
    let rules = format!("hostssl all {role} 127.0.0.1/32 {method}\nhostnossl all {role} 127.0.0.1/32 reject\n");
    // The first rule that fits counts.
    write(superuser, &rules, "cat - pg_hba.conf > pg_hba.new && mv pg_hba.new pg_hba.conf").await;
    reload(superuser).await;
}

/// Makes the server show this certificate from now on, and trust those of the authority.
pub(crate) async fn show(superuser: &Client, certificate: &Certified, authority: &Authority) {
    write(superuser, &certificate.certificate, "cat > server.crt").await;
    write(superuser, &certificate.key, "rm -f server.key && cat > server.key").await;
    write(superuser, &authority.pem, "cat > ca.crt").await;
    for setting in ["ssl_cert_file = 'server.crt'", "ssl_key_file = 'server.key'", "ssl_ca_file = 'ca.crt'", "ssl = on"]
    {
        superuser.batch_execute(&format!("ALTER SYSTEM SET {setting}")).await.expect("set it");
    }
    reload(superuser).await;
}

/// Gives a text to a command of the server's machine, in the folder of its data.
async fn write(superuser: &Client, text: &str, command: &str) {
    let copy = format!("COPY (SELECT unnest(string_to_array('{text}', E'\\n'))) TO PROGRAM 'umask 077; {command}'");
    superuser.batch_execute(&copy).await.expect("write a file of the server");
}

/// Waits until the server has read its files again, so that a new session finds them.
async fn reload(superuser: &Client) {
    let loaded = "SELECT pg_conf_load_time() > $1";
    let before: std::time::SystemTime =
        superuser.query_one("SELECT pg_conf_load_time()", &[]).await.expect("ask").get(0);
    superuser.batch_execute("SELECT pg_reload_conf()").await.expect("reload");
    wait::until("PostgreSQL has read its files", DEADLINE, async || {
        let row = superuser.query_one(loaded, &[&before]).await.map_err(|error| error.to_string())?;
        wait::holds(row.get(0), "not yet")
    })
    .await;
}
