"""Training, evaluation and the synthetic collision world of cs3_ros."""
