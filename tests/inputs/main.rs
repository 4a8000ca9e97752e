//! Odd inputs: each has a number, a line in `docs/inputs.md`, and a test here whose name carries the number.
//!
//! A test writes its value where an application would, into MongoDB, and reads what became of it out of PostgreSQL; the
//! built daemon runs in between. What MongoDB itself refuses is written to Kafka as a record, made by the product's own
//! encoder and then changed. Nothing is mocked, and every value is compared exactly.
//!
//! All tests share one migration and one daemon ([`world`]); each has `_id`s of its own, which begin with its number.
//! [`table`] says what each input is and what must become of it, and keeps the page equal to the tests.

mod bytes;
mod table;
mod world;

mod applications;
mod constraints;
mod dates;
mod events;
mod keys;
mod numbers;
mod strings;
mod structure;
mod types;
