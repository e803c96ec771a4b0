"""What the vendors' pages of errors show: kind of trouble → the status, the headers, the body, for each format."""


def openai(message, kind, code, param=None):
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def _anthropic(kind, message):
    return {"type": "error", "error": {"type": kind, "message": message}, "request_id": "req_011CSHoEeqs5C35K2UUqR7Fy"}


def _google(code, status, message, *details):
    return {"error": {"code": code, "message": message, "status": status, "details": list(details)}}


def _amazon(kind, message):
    return {"x-amzn-errortype": f"{kind}:http://internal.amazon.com/coral/com.amazon.bedrock/"}, {"message": message}


_OPENAI = {
    "limited": (
        429,
        {"retry-after": "7", "x-ratelimit-remaining-requests": "0"},
        openai(
            "Rate limit reached for gpt-5 on requests per min (RPM): Limit 3, Used 3. Please try again in 7s.",
            "requests",
            "rate_limit_exceeded",
        ),
    ),
    "overflow": (
        400,
        {},
        openai(
            "This model's maximum context length is 128000 tokens. However, your messages resulted in 130000 tokens.",
            "invalid_request_error",
            "context_length_exceeded",
            "messages",
        ),
    ),
    "key": (401, {}, openai("Incorrect API key provided.", "invalid_request_error", "invalid_api_key")),
    "missing": (
        404,
        {},
        openai("The model `gpt-9` does not exist or you do not have access to it.", "invalid_request_error", "model_not_found"),
    ),
    "invalid": (400, {}, openai("Invalid value: 'x'.", "invalid_request_error", "invalid_value", "tools[0].type")),
    "overloaded": (503, {"retry-after": "3"}, openai("The engine is currently overloaded, please try again later", "server_error", None)),
    "broken": (500, {}, openai("The server had an error while processing your request", "server_error", None)),
}

# What the vendors' pages of errors show; the status, the headers, the body.
ERRORS = {
    "openai_chat": _OPENAI,
    "openai_responses": _OPENAI,
    "anthropic": {
        "limited": (429, {"retry-after": "7"}, _anthropic("rate_limit_error", "Number of request tokens has exceeded your rate limit")),
        "overflow": (400, {}, _anthropic("invalid_request_error", "prompt is too long: 210000 tokens > 200000 maximum")),
        "key": (401, {}, _anthropic("authentication_error", "invalid x-api-key")),
        "missing": (404, {}, _anthropic("not_found_error", "model: claude-9")),
        "invalid": (400, {}, _anthropic("invalid_request_error", "tools.0.type: Field required")),
        "overloaded": (529, {}, _anthropic("overloaded_error", "Overloaded")),
        "broken": (500, {}, _anthropic("api_error", "Internal server error")),
    },
    "gemini": {
        "limited": (
            429,
            {},
            _google(
                429,
                "RESOURCE_EXHAUSTED",
                "You exceeded your current quota, please check your plan and billing details.",
                {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "7s"},
            ),
        ),
        "overflow": (
            400,
            {},
            _google(400, "INVALID_ARGUMENT", "The input token count (1200000) exceeds the maximum number of tokens allowed (1048576)."),
        ),
        "key": (
            400,
            {},
            _google(
                400,
                "INVALID_ARGUMENT",
                "API key not valid. Please pass a valid API key.",
                {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "API_KEY_INVALID", "domain": "googleapis.com"},
            ),
        ),
        "missing": (
            404,
            {},
            _google(404, "NOT_FOUND", "models/gemini-9 is not found for API version v1beta, or is not supported for generateContent."),
        ),
        "invalid": (400, {}, _google(400, "INVALID_ARGUMENT", "* GenerateContentRequest.contents: contents is not specified")),
        "overloaded": (503, {}, _google(503, "UNAVAILABLE", "The model is overloaded. Please try again later.")),
        "broken": (500, {}, _google(500, "INTERNAL", "An internal error has occurred.")),
    },
    "bedrock": {
        "limited": (429, *_amazon("ThrottlingException", "Too many requests, please wait before trying again.")),
        "overflow": (400, *_amazon("ValidationException", "Input is too long for requested model.")),
        "key": (403, *_amazon("AccessDeniedException", "You don't have access to the model with the specified model ID.")),
        "missing": (
            404,
            *_amazon("ResourceNotFoundException", "Could not resolve the foundation model from the provided model identifier."),
        ),
        "invalid": (400, *_amazon("ValidationException", "The toolConfig field must be defined when using toolUse and toolResult blocks.")),
        "overloaded": (503, *_amazon("ServiceUnavailableException", "The service is temporarily unavailable.")),
        "broken": (500, *_amazon("InternalServerException", "The system encountered an unexpected error during processing.")),
    },
    "ollama": {
        "limited": (429, {"retry-after": "7"}, {"error": "you have reached your hourly usage limit"}),
        "overflow": (400, {}, {"error": "the input length exceeds the context length"}),
        "key": (401, {}, {"error": "unauthorized"}),
        "missing": (404, {}, {"error": "model 'qwen9' not found"}),
        "invalid": (400, {}, {"error": "registry.ollama.ai/library/gemma3:latest does not support tools"}),
        "overloaded": (503, {}, {"error": "server busy, please try again.  maximum pending requests exceeded"}),
        "broken": (500, {}, {"error": "the model failed to generate a response"}),
    },
    "cohere": {
        "limited": (429, {"retry-after": "7"}, {"message": "You are using a Trial key, which is limited to 10 API calls / minute."}),
        "overflow": (
            400,
            {},
            {
                "message": "too many tokens: total number of tokens in the prompt cannot exceed 4081 - received 4292. Try using "
                "a shorter prompt"
            },
        ),
        "key": (401, {}, {"message": "invalid api token"}),
        "missing": (
            404,
            {},
            {"message": "model 'command-z' not found, make sure the correct model ID was used and that you have access to it."},
        ),
        "invalid": (400, {}, {"message": "invalid request: message must be at least 1 token long or tool results must be specified."}),
        "overloaded": (503, {}, {"message": "service unavailable"}),
        "broken": (500, {}, {"message": "internal server error"}),
    },
}
