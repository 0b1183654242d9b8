"""Pure decisions; time is an argument. No asyncio, os, socket or time here."""
