"""The trainer worker: replay, train, measure against the current model, promote what is better."""
