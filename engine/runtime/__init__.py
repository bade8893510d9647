"""What runs the steps: the dataflow, its clock and its workers."""
