"""What correct means: operations, histories, schedules, properties, contracts.  Pure data and functions."""
