"""What a trained model looks at: heat maps, and its features as a picture."""
