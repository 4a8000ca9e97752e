-- By which rule the rows of a collection got their keys; NULL: from before it was recorded.
ALTER TABLE driftless.collection ADD COLUMN key_rule text;
