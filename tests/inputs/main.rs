//! Odd inputs: each has a number, a line in `docs/inputs.md`, and a test here whose name carries the number.
//!
//! A test writes its value into MongoDB, as an application would, and reads the outcome from PostgreSQL; the built daemon runs
//! in between. A value that MongoDB itself refuses is written to Kafka as a record, which the product's own encoder makes and
//! the test then changes. Nothing is mocked, and every value is compared exactly.
//!
//! All tests share one migration and one daemon ([`world`]); each has its own `_id`s, which begin with its number. [`table`]
//! lists each input with its outcome, and keeps the page equal to the tests.

use driftless_testing::bytes;

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
