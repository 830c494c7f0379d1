"""What a run would do, told before it does anything: the plan, and pages with the pictures it would be trained on."""
