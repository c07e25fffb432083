"""How data-plane processes follow control: flags in, evidence out, signed runs."""
