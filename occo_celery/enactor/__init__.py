"""The shell around the planner: takes leases, observes, plans, records, sends. Nothing here decides."""
