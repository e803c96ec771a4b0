"""Prints nothing and writes the file it is given: what LiteLLM 1.110.2 (PyPI) computes for some models and usages. Run by hand:
python compute.py litellm.json"""
import json, os, random, sys
os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
import litellm
from litellm import Usage
from litellm.types.utils import PromptTokensDetailsWrapper, CompletionTokensDetailsWrapper, CacheCreationTokenDetails, ServerToolUse
from litellm.cost_calculator import cost_per_token

random.seed(20261126)
PROVIDERS = ["openai","azure","anthropic","gemini","vertex_ai","bedrock","cohere","deepseek","groq","mistral","openrouter","together_ai","fireworks_ai","xai","cerebras","nvidia_nim","ollama"]
norm = {"bedrock_converse":"bedrock","cohere_chat":"cohere","text-completion-openai":"openai","fireworks_ai-embedding-models":"fireworks_ai"}
by = {}
for name, e in litellm.model_cost.items():
    p = e.get("litellm_provider")
    if not p or name == "sample_spec": continue
    p = "vertex_ai" if p.startswith("vertex_ai-") else norm.get(p, p)
    if p in PROVIDERS and e.get("mode") in ("chat","responses","embedding","completion",None) and (e.get("input_cost_per_token") is not None or e.get("tiered_pricing")):
        by.setdefault(p, []).append(name)
usages = [
 {},
 {"cache_read": 5000},
 {"cache_read": 1000, "cache_write": 3000},
 {"cache_write": 4000, "cache_write_hour": 1500, "cache_read": 100},
 {"reasoning": 300},
 {"large": True},
 {"large": True, "cache_read": 150000},
 {"audio_input": 400, "audio_output": 120},
 {"tier": "flex"}, {"tier": "priority"}, {"tier": "priority", "large": True, "cache_read": 9000},
 {"image_input": 258},
]
out = []
for p in PROVIDERS:
    names = sorted(by.get(p, []))
    rich = [n for n in names if len([k for k in litellm.model_cost[n] if "cost" in k]) > 3]
    picked = set(random.sample(names, min(10, len(names)))) | set(random.sample(rich, min(14, len(rich))))
    for name in sorted(picked):
        bare = name
        for pre in (litellm.model_cost[name]["litellm_provider"], p):
            if bare.startswith(pre + "/"): bare = bare[len(pre)+1:]; break
        for u in random.sample(usages, 2):
            # LiteLLM passes no class of service on for this provider.
            if p == "fireworks_ai" and "tier" in u: continue
            inp = random.choice([250_001, 300_000, 272_000, 200_000]) if u.get("large") else random.randint(10_000, 60_000)
            outp = random.randint(600, 5000)
            if litellm.model_cost[name].get("mode") == "embedding":
                if u: continue
                outp = 0
            ptd = PromptTokensDetailsWrapper(cached_tokens=u.get("cache_read"), audio_tokens=u.get("audio_input"), image_tokens=u.get("image_input"))
            if u.get("cache_write"):
                ptd.cache_creation_tokens = u["cache_write"]
                if u.get("cache_write_hour"):
                    ptd.cache_creation_token_details = CacheCreationTokenDetails(ephemeral_5m_input_tokens=u["cache_write"]-u["cache_write_hour"], ephemeral_1h_input_tokens=u["cache_write_hour"])
            ctd = CompletionTokensDetailsWrapper(reasoning_tokens=u.get("reasoning"), audio_tokens=u.get("audio_output"))
            usage = Usage(prompt_tokens=inp, completion_tokens=outp, total_tokens=inp+outp, prompt_tokens_details=ptd, completion_tokens_details=ctd)
            try:
                a, b = cost_per_token(model=bare, custom_llm_provider=p, usage_object=usage, service_tier=u.get("tier"), prompt_tokens=inp, completion_tokens=outp)
            except Exception as error:
                print("none", p, bare, str(error)[:80], file=sys.stderr); continue
            case = {"provider": p, "model": bare, "input": inp, "output": outp, **{k: v for k, v in u.items() if k != "large"}, "cost": a + b}
            out.append(case)
print(len(out), file=sys.stderr)
with open(sys.argv[1], "w") as f:
    f.write("[\n" + ",\n".join(json.dumps(c) for c in out) + "\n]\n")
