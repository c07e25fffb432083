"""The field's rules beside Molt's, scored on the same generated evidence."""
