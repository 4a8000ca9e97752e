//! A business-plan application to try everything on: its documents, its schema, its writes.
