"""Shipped agents: the Claude command-line client, and Anthropic's API through its SDK."""

import json
import os
from collections.abc import Mapping
from typing import Any

from lobula.errors import MissingDependencyError, ProposerError
from lobula.exploration.context import build_context
from lobula.exploration.proposals import Proposal
from lobula.exploration.proposers.agent import AgentProposer, as_json
from lobula.exploration.proposers.answers import one_line, proposals_in
from lobula.exploration.proposers.base import Request

PROMPT = (
    "You propose the next experiments of a study. The input is a JSON document with its goal, the space of parameters, "
    "the tree of what was tried with scores, what is known, and what a person asks for. Think about what the scores "
    "mean, single runs being noisy; then answer with JSON only, as the field `answer` of the document says: a list of "
    "as many proposals as are wanted there, without any other text."
)
KEYS = ("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN")
DEFAULT_MODEL = "claude-opus-5-5"
_MAX_TOKENS = 8192


def claude_client(model: str | None, timeout_s: float) -> AgentProposer:
    """The Claude command-line client, in print mode and without tools: it sees the context and nothing else.

    Args:
        model: model name; None: the client's default.
        timeout_s: seconds that an answer may take.
    """
    return AgentProposer(
        claude_words(model), timeout_s, name="claude-cli", encode=as_json, decode=claude_answer, in_folder=True
    )


def claude_words(model: str | None = None) -> list[str]:
    """Words of the command; the context goes to its stdin."""
    words = ["claude", "-p", PROMPT, "--output-format", "json", "--tools", ""]
    return words + (["--model", model] if model else [])


def claude_answer(text: str) -> str:
    """The answer inside the client's envelope: its result message, alone or last in a list.

    Raises:
        ValueError: if it is an error (login expired, limit reached), or no envelope.
    """
    try:
        envelope = json.loads(text)
    except ValueError:
        raise ValueError(f"got {text.strip()[:80]!r}, expected the client's JSON envelope") from None
    if isinstance(envelope, list):
        results = [part for part in envelope if isinstance(part, Mapping) and part.get("type") == "result"]
        envelope = results[-1] if results else {}
    if not isinstance(envelope, Mapping) or envelope.get("type") != "result":
        raise ValueError("got no result message, expected the client's JSON envelope")
    result = envelope.get("result")
    if envelope.get("is_error") or not isinstance(result, str):
        raise ValueError(str(result or envelope.get("subtype") or "the client reports an error"))
    return result


class AnthropicProposer:
    """Asks a model over Anthropic's API. The key comes from the environment, and is neither kept nor shown.

    Args:
        model: model name; None: `DEFAULT_MODEL`.
        timeout_s: seconds that an answer may take, retries included.

    Raises:
        MissingDependencyError: if the SDK is not installed.
    """

    name = "anthropic"

    def __init__(self, model: str | None = None, timeout_s: float = 600.0) -> None:
        self._model = model or DEFAULT_MODEL
        self._timeout_s = timeout_s
        _sdk()  # at the start of a study, not hours later

    def propose(self, request: Request) -> list[Proposal]:
        """What the model answers.

        Raises:
            ProposerError: one line: no key, refused, not reachable, timeout, or no proposals in the answer.
        """
        sdk = _sdk()
        if not any(os.environ.get(key) for key in KEYS):
            raise ProposerError(f"anthropic: got no key, expected the environment variable {KEYS[0]}")
        content = as_json(build_context(request))
        try:
            with sdk.Anthropic(timeout=self._timeout_s / 2, max_retries=1) as client:
                message = client.messages.create(
                    model=self._model,
                    max_tokens=_MAX_TOKENS,
                    system=PROMPT,
                    messages=[{"role": "user", "content": content}],
                )
        except sdk.AnthropicError as error:
            raise ProposerError(one_line(f"anthropic: {type(error).__name__}: {error}")) from None
        text = "".join(block.text for block in message.content if block.type == "text")
        return proposals_in(text, self.name, request.n)


def _sdk() -> Any:
    try:
        import anthropic
    except ImportError as cause:
        raise MissingDependencyError(
            "anthropic: the SDK is not installed, expected it for proposer.agent.preset=anthropic; "
            "python -m pip install 'lobula[agents]', or choose claude-cli or a command"
        ) from cause
    return anthropic
