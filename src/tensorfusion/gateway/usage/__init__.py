"""What requests used and cost: their records in a store of time series, and the questions that are asked of it."""
