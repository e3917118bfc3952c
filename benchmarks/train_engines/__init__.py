"""One module an engine: start(settings) gives its version, step(task, x, y) a function that takes one training step."""
