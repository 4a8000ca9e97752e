//! MongoDB: change stream, snapshot and reads at one cluster time.
