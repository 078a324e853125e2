"""What goes on by itself, whoever calls: schedules, the roster of workers, the private Redis."""
