"""bench: throughput and latency of a running endpoint, or of the engine on this machine as the note measured it."""
