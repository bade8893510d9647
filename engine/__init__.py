"""From definitions to a running dataflow: the plan, its steps and the runtime."""
