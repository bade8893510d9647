"""What happens to a micro-batch, one plain class a step; none of them knows the dataflow."""
