"""What can be added without touching the core: resource handlers, config managers, contextualisation,
health checks. Each kind has a base module that states its contract; plugins are entry points."""
