"""Providers, accounts, models and keys, and what they must find in each other."""

from datetime import UTC, datetime
from decimal import Decimal
from ipaddress import ip_network
from pathlib import Path

import pytest

from proxy.config import (
    ConfigError,
    PriceEntry,
    Rates,
    ReadOn,
    Secret,
    Target,
    Tier,
    Timeouts,
    key_hash,
    loads,
)
from proxy.providers import BUILTIN, Flags, Provider

ACCOUNT = '[[accounts]]\nname = "a"\nprovider = "openai"\napi_key = { env = "K" }\n'


def read(text, **environ):
    return loads(text, Path("c.toml"), {"K": "k", **environ})


def faults(text, **environ):
    with pytest.raises(ConfigError) as caught:
        read(text, **environ)
    return [fault.removeprefix("c.toml:") for fault in caught.value.faults]


# Providers.


def test_a_new_provider_is_one_table():
    providers = read(
        """
        [providers.my-vllm]
        dialects = ["openai-chat", "anthropic"]
        base_url = "http://10.0.0.7:8000/v1"
        base_urls = { anthropic = "http://10.0.0.7:8001" }
        families = ["my-"]
        flags = { stream_options = false, max_tokens_field = "max_tokens" }
        """
    ).providers
    assert providers["my-vllm"] == Provider(
        name="my-vllm",
        dialects=("openai-chat", "anthropic"),
        base_url="http://10.0.0.7:8000/v1",
        base_urls={"anthropic": "http://10.0.0.7:8001"},
        families=("my-",),
        auth="bearer",
        flags=Flags(stream_options=False, max_tokens_field="max_tokens"),
    )
    assert set(providers) == {*BUILTIN, "my-vllm"}


@pytest.mark.parametrize(
    ("dialect", "auth"),
    [("anthropic", "x-api-key"), ("gemini", "x-goog-api-key"), ("openai-responses", "bearer")],
)
def test_a_new_provider_is_called_as_its_dialect_usually_is(dialect, auth):
    text = f'[providers.p]\ndialects = ["{dialect}"]\nbase_url = "http://h"'
    assert read(text).providers["p"].auth == auth


def test_a_table_replaces_the_fields_that_it_gives():
    row = BUILTIN["mistral"]
    merged = read("[providers.mistral.flags]\nstream_options = true").providers["mistral"]
    assert merged.flags == Flags(
        stream_options=True, max_tokens_field="max_tokens", tool_id_nine=True
    )
    assert (merged.base_url, merged.dialects, merged.auth, merged.families) == (
        row.base_url,
        row.dialects,
        row.auth,
        row.families,
    )


def test_a_new_address_is_that_of_every_dialect():
    merged = read('[providers.zai]\nbase_url = "http://h/v1"').providers["zai"]
    assert merged.url("anthropic", "/v1/messages") == "http://h/v1/messages"
    merged = read('[providers.zai.base_urls]\nanthropic = "http://h"').providers["zai"]
    assert merged.url("anthropic", "/v1/messages") == "http://h/v1/messages"
    assert merged.base_url == BUILTIN["zai"].base_url


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("v1", "found a name that is a path of ours, expected any but account, api"),
        ("google", "found an alias of gemini, expected [providers.gemini]"),
        ("My", 'found "My", expected lower-case letters, digits, . _ and -'),
    ],
)
def test_names_that_a_provider_may_not_have(name, said):
    found = faults(f'[providers.{name}]\nbase_url = "http://h"\ndialects = ["gemini"]')
    assert len(found) == 1
    assert found[0].startswith(f"1: providers.{name}: {said}")


def test_a_new_provider_needs_dialects_and_an_address():
    assert faults("[providers.p]\nflags = { strem_options = 1 }") == [
        (
            "1: providers.p.base_url: found nothing, expected an address such as "
            '"https://api.example.com/v1"'
        ),
        (
            "1: providers.p.dialects: found nothing, expected a list of: openai-chat, openai-responses, "
            "anthropic or gemini"
        ),
        "2: providers.p.flags.strem_options: found an unknown key; did you mean stream_options?",
    ]


# Accounts.


def test_an_account_with_everything():
    (account,) = read(
        """
        [[accounts]]
        name = "main"
        provider = "google"
        api_key = "k"
        base_url = "http://h/v1beta/"
        models = ["gemini-*", "gemma-*"]
        weight = 3
        priority = 1
        rpm = 10
        tpm = 20
        concurrency = 30
        budget_usd = 40
        budget_period = "week"
        cost_multiplier = 0.5
        proxy = "http://proxy:3128"
        on_disconnect = { read_on = "2s" }
        """
    ).accounts
    assert (account.name, account.provider, account.api_key) == ("main", "gemini", Secret("k"))
    assert account.base_url == "http://h/v1beta"
    assert account.models == ("gemini-*", "gemma-*")
    assert (account.weight, account.priority) == (3, 1)
    assert (account.rpm, account.tpm, account.concurrency) == (10, 20, 30)
    assert (account.budget_usd, account.budget_period) == (Decimal(40), "week")
    assert account.cost_multiplier == Decimal("0.5")
    assert (account.proxy, account.on_disconnect) == ("http://proxy:3128", ReadOn(2.0))


def test_an_account_without_a_name_or_a_known_provider():
    assert faults('[[accounts]]\nprovider = "opnai"') == [
        (
            "1: accounts[0].name: found nothing, expected a name of letters, digits, . _ @ and -, "
            "at most 64"
        ),
        '2: accounts[0].provider: found "opnai", expected a provider; did you mean openai?',
    ]
    assert "accounts[0].provider: found nothing" in faults('[[accounts]]\nname = "a"')[0]


@pytest.mark.parametrize("key", ["", 'api_key = ""\n'])
def test_an_account_without_a_key_is_for_servers_that_ask_for_none(key):
    (found,) = faults(f'[[accounts]]\nname = "a"\nprovider = "groq"\n{key}')
    assert found.endswith(
        'accounts[0].api_key: found nothing, expected { env = "…" } or another secret; '
        'or auth = "none" in [providers.groq]'
    )
    text = f'[[accounts]]\nname = "a"\nprovider = "groq"\n{key}[providers.groq]\nauth = "none"'
    assert read(text).accounts[0].api_key is None
    assert read(f'[[accounts]]\nname = "a"\nprovider = "vllm"\n{key}').accounts[0].api_key is None


def test_azure_has_no_address_of_its_own():
    text = '[[accounts]]\nname = "a"\nprovider = "azure"\napi_key = "k"\n'
    assert faults(text) == [
        (
            "1: accounts[0].base_url: found nothing, expected the address of your azure-openai; "
            "for example https://RESOURCE.openai.azure.com/openai/v1"
        )
    ]
    own = "https://r.openai.azure.com/openai/v1"
    assert read(f'{text}base_url = "{own}"').accounts[0].base_url == own


def test_a_budget_has_a_period():
    assert faults(f"{ACCOUNT}budget_usd = 1") == [
        "1: accounts[0].budget_period: found nothing, expected day, week, month or total"
    ]
    assert faults(f'{ACCOUNT}budget_period = "day"') == [
        "1: accounts[0].budget_usd: found nothing, expected the amount of the budget"
    ]


def test_names_are_used_once():
    assert faults(ACCOUNT + ACCOUNT) == [
        '6: accounts[1].name: found "a" again, expected one of its own; line 2 has it already'
    ]


# Models.


def test_a_model_with_everything():
    (_, model) = read(
        f"""
        {ACCOUNT}
        [timeouts]
        idle = "9s"
        [[models]]
        name = "fast"
        aliases = ["quick"]
        [[models]]
        name = "smart"
        aliases = ["best", "acme/best"]
        targets = ["openai/gpt-6-sol", {{ to = "openai/org/x", order = 1, weight = 3 }}]
        fallbacks = ["quick"]
        defaults = {{ temperature = 0.2, stop = ["a"], metadata = {{ n = 1 }} }}
        override = {{ top_k = 5 }}
        cost = {{ input = 3.0, output = 15, cache_read = 0.3 }}
        rpm = 1
        tpm = 2
        timeouts = {{ total = "1h" }}
        unpriced = "refuse"
        """
    ).models
    assert model.aliases == ("best", "acme/best")
    assert model.targets == (
        Target(provider="openai", model="gpt-6-sol", order=1, weight=1),
        Target(provider="openai", model="org/x", order=1, weight=3),
    )
    assert model.fallbacks == ("fast",)
    assert model.defaults == {"temperature": 0.2, "stop": ["a"], "metadata": {"n": 1}}
    assert model.override == {"top_k": 5}
    assert model.cost == (
        PriceEntry(
            rates=Rates(input=Decimal("3.0"), output=Decimal(15), cache_read=Decimal("0.3"))
        ),
    )
    assert model.price is None
    assert (model.rpm, model.tpm, model.unpriced) == (1, 2, "refuse")
    assert model.timeouts == Timeouts(idle=9.0, total=3600.0)


def test_targets_are_tried_in_the_order_of_the_list_unless_numbered():
    text = (
        f'{ACCOUNT}[[models]]\nname = "m"\n'
        'targets = ["openai/a", { to = "openai/b", order = 0 }, "openai/c"]'
    )
    targets = read(text).models[0].targets
    assert [(target.model, target.order) for target in targets] == [("b", 0), ("a", 1), ("c", 3)]


def model_faults(lines):
    found = faults(f'{ACCOUNT}[[models]]\nname = "m"\n{lines}')
    assert all(fault.startswith("7: models[0].") for fault in found)
    return [fault.removeprefix("7: models[0].") for fault in found]


@pytest.mark.parametrize(
    ("targets", "said"),
    [
        ('["gpt-6"]', 'targets[0].to: found "gpt-6", expected "provider/model"'),
        ('["opnai/x"]', 'to: found "opnai", expected a provider before the slash; did you mean'),
        ("[{ order = 1 }]", 'targets[0].to: found nothing, expected "provider/model"'),
        ("[1]", 'targets[0].to: found 1, expected "provider/model"'),
        ("[]", 'targets: found [], expected a list such as ["openai/gpt-5"]'),
        ('["xai/grok"]', 'found "xai/grok", expected a provider that has an account; add one with'),
    ],
)
def test_no_target(targets, said):
    (found,) = model_faults(f"targets = {targets}")
    assert said in found


def test_a_target_has_an_account_that_serves_it():
    text = f'{ACCOUNT}models = ["gpt-5*"]\n[[models]]\nname = "m"\ntargets = ["openai/gpt-6"]'
    assert faults(text) == [
        (
            '8: models[0].targets: found "openai/gpt-6", expected a model that an account serves; '
            "the globs of its accounts are gpt-5*"
        )
    ]


def test_fallbacks_are_other_models():
    assert model_faults('fallbacks = ["n"]') == [
        'fallbacks: found "n", expected the name of a model; known: m'
    ]
    assert model_faults('fallbacks = ["m"]') == [
        'fallbacks: found "m", expected another model; it names itself'
    ]


def test_public_names_and_aliases_are_used_once():
    text = '[[models]]\nname = "a"\naliases = ["b"]\n[[models]]\nname = "b"\naliases = ["a"]'
    assert faults(text) == [
        '5: models[1].name: found "b", expected a name of its own; the model "a" has it already',
        '6: models[1].aliases: found "a", expected a name of its own; the model "a" has it already',
    ]


def test_a_model_without_a_name():
    assert "models[0].name: found nothing" in faults("[[models]]\nrpm = 1")[0]


def test_what_a_request_decides_is_no_default():
    assert model_faults("defaults = { stream = true }") == [
        "defaults: found stream, expected parameters of the model; stream is the request's own"
    ]
    assert "a table such as" in model_faults("override = 1")[0]


# Prices.


def price(text):
    return read(f'[[models]]\nname = "m"\n{text}').models[0].price


def test_prices_have_tiers():
    entries = price(
        "price = { input = 0.1, tiers = [{ above = 200, input = 1 }, { above = 100, input = 0.5 }] }"
    )
    assert entries == (
        PriceEntry(
            rates=Rates(input=Decimal("0.1")),
            tiers=(
                Tier(above=100, rates=Rates(input=Decimal("0.5"))),
                Tier(above=200, rates=Rates(input=Decimal(1))),
            ),
        ),
    )


def test_prices_have_dates_and_come_out_in_their_order():
    entries = price(
        "price = [{ from = 2026-12-01, input = 4, output = 20 }, { input = 2, output = 10 }]"
    )
    assert [entry.since for entry in entries or ()] == [None, datetime(2026, 12, 1, tzinfo=UTC)]


def test_prices_have_hours_and_service_tiers():
    entries = price(
        'price = [{ hours = ["22:30", "04:00"], input = 4 }, { input = 2, requests_kcount = 5, '
        "service_tiers = { flex = { input = 1, tiers = [{ above = 5, input = 3 }] } } }]"
    )
    assert entries is not None
    assert [entry.hours for entry in entries] == [None, (1350, 240)]
    assert entries[0].rates.requests_kcount == 5
    assert entries[0].service_tiers == {
        "flex": PriceEntry(
            rates=Rates(input=Decimal(1)), tiers=(Tier(above=5, rates=Rates(input=Decimal(3))),)
        )
    }


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('price = { input = 1, hours = ["1:00", "04:00"] }', "price.hours: found"),
        ('price = { input = 1, hours = ["01:00", "24:00"] }', "two times of the day in UTC"),
        ('price = { input = 1, hours = ["01:00"] }', "two times of the day in UTC"),
        ("price = { input = 1, hours = [1, 2] }", "two times of the day in UTC"),
        (
            "price = { input = 1, service_tiers = { flex = { from = 2026-12-01, input = 1 } } }",
            "found an unknown key",
        ),
        ("price = { input = 1e-13 }", "with at most 12 decimals"),
        ("price = { input = 1e12 }", "below a million million"),
        ("price = []", "price: found [], expected { input = …, output = … }"),
        ("price = {}", "price: found no price, expected one of input, output, cache_read"),
        ("price = { input = -1 }", "price.input: found -1, expected a number of at least 0"),
        ("price = { inputs = 1, output = 1 }", "found an unknown key; did you mean input?"),
        ("price = [{ input = 1 }, { input = 2 }]", "found two prices from the same date"),
        ("price = { input = 1, tiers = [{ input = 2 }] }", "price.tiers[0].above: found nothing"),
        (
            "price = { input = 1, tiers = [{ above = 1, input = 2 }, { above = 1, input = 3 }] }",
            "price.tiers: found two tiers above the same, expected one for each",
        ),
    ],
)
def test_no_price(text, said):
    (found,) = model_faults(text)
    assert said in found


# Keys.


def test_a_key_with_everything():
    (key,) = read(
        f"""
        [[keys]]
        name = "ci"
        hash = "sha256:{"0f" * 32}"
        team = "platform"
        models = ["smart", "openai/*"]
        rpm = 1
        tpm = 2
        concurrency = 3
        budget_usd = 4.5
        budget_period = "total"
        prepaid = true
        credit_usd = 10
        allowance_usd = 5
        price_multiplier = 1.2
        expires = 2027-01-01
        allow_ip = ["10.0.0.0/8", "::1"]
        enabled = false
        """
    ).keys
    assert (key.name, key.hash, key.team) == ("ci", "0f" * 32, "platform")
    assert key.models == ("smart", "openai/*")
    assert (key.rpm, key.tpm, key.concurrency) == (1, 2, 3)
    assert (key.budget_usd, key.budget_period) == (Decimal("4.5"), "total")
    assert (key.prepaid, key.credit_usd, key.allowance_usd) == (True, Decimal(10), Decimal(5))
    assert key.price_multiplier == Decimal("1.2")
    assert key.expires == datetime(2027, 1, 1, tzinfo=UTC)
    assert key.allow_ip == (ip_network("10.0.0.0/8"), ip_network("::1/128"))
    assert not key.enabled


def test_a_key_that_is_given_is_kept_as_its_hash():
    config = read('[[keys]]\nname = "ci"\nkey = { env = "CI" }', CI="any string")
    assert config.keys[0].hash == key_hash("any string")
    assert "any string" not in repr(config)


def test_a_hash_that_is_none_is_not_repeated():
    assert faults('[[keys]]\nname = "ci"\nhash = "sk-splice-oops"') == [
        (
            '3: keys[0].hash: found something else, expected "sha256:" and 64 hex digits; '
            "a key itself goes in key"
        )
    ]


def test_a_key_is_given_once():
    assert (
        "found both key and hash, expected one of them"
        in (faults(f'[[keys]]\nname = "a"\nkey = "x"\nhash = "{"0" * 64}"')[0])
    )
    assert "hash: found nothing" in faults('[[keys]]\nname = "a"')[0]
    assert "env NONE, unset or empty" in faults('[[keys]]\nname = "a"\nkey = { env = "NONE" }')[0]
    same = '[[keys]]\nname = "a"\nkey = "x"\n[[keys]]\nname = "b"\nkey = "x"'
    assert faults(same) == [
        "4: keys[1].hash: found the same key again, expected one of its own; line 1 has it already"
    ]
