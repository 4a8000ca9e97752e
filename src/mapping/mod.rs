//! Declared collections become tables: BSON values turn into column values, every loss named. Pure.
