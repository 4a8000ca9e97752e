-- A proof is in `proof`, what stands against it in `finding`. Results of passes over samples prove nothing.
DROP TABLE driftless.reconcile_result;
