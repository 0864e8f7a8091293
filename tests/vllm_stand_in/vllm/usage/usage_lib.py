class UsageContext:
    OPENAI_API_SERVER = "server"
