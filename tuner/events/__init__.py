"""Who hears of what happens: events, and those who pass them on."""
