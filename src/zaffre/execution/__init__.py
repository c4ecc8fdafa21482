"""How work becomes processes. Knows neither database nor request: it is handed typed plans and tells what happened."""
