"""A plug-in of pose-harness, as a third party would write one."""
