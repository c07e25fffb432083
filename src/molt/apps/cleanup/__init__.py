"""What can leave a code base once the rollout is complete: flags, and code paths for shadow mode."""
