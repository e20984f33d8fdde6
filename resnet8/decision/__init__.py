"""Choice of the variant to ship, by stated rules, and the model card that goes with it."""
