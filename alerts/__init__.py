"""What is wrong in the city now: rules, anomalies, and what became of each."""
