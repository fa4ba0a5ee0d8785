"""MMDetection modules: losses and heads."""
