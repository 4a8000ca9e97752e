//! PostgreSQL: the only writer of replicated rows.
