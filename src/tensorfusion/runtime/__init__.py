"""What every component runs on: informers, queues, controllers, leadership, events, serving."""
