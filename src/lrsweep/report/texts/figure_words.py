"""Korean for the words in the figures. A figure is drawn once, with English words, and the Korean page translates them."""

import re

from lrsweep.report.texts.claim_names import CLAIM_NAMES

FIGURE_WORDS = {  # if a text fits several, the first one is used
    # Axes
    "learning rate (optimizer.lr)": "학습률 (optimizer.lr)",
    "test error (1 - accuracy)": "테스트 오차 (1 - 정확도)",
    "validation error (1 - accuracy)": "검증 오차 (1 - 정확도)",
    "test accuracy": "테스트 정확도",
    "validation accuracy": "검증 정확도",
    "points of test accuracy lost": "잃는 테스트 정확도 (%p)",
    "epochs of a run (mean)": "한 실행의 epoch 수 (평균)",
    "epoch (log scale)": "epoch (로그 눈금)",
    "smoothed training loss of a batch": "고르게 다듬은 배치 학습 손실",
    # Marks and lines
    "a run": "실행 하나",
    "mean": "평균",
    "95% interval": "95% 구간",
    "at chance level": "우연 수준",
    "diverged": "발산",
    "good": "좋음",
    "undecided": "판단 보류",
    "worse": "나쁨",
    "good rates": "좋은 학습률",
    "δ = {delta} points": "δ = {delta}%p",
    "half the seeds learn": "시드 절반이 학습되는 곳",
    "half the seeds learn (band: 95%)": "시드 절반이 학습되는 곳 (띠: 95%)",
    "best trade-off, {rate}": "최적의 trade-off, {rate}",
    "best rate so far, {rate}": "지금까지 최고, {rate}",
    "own {seeds}": "본 실험 {seeds}",
    "1 fresh seed": "새 시드 1개",
    "{num} fresh seeds": "새 시드 {num}개",
    "one seed": "시드 1개",
    "{num} seeds": "시드 {num}개",
    "learning rate; a mark: the best epoch": "학습률. 표시: 가장 좋은 epoch",
    "stopped with patience {patience}": "조기 종료 (patience {patience})",
    "all {epochs} epochs": "{epochs} epoch 전체",
    "{rule}: no suggestion": "{rule}: 제안 없음",
    # The audit
    "holds": "성립",
    "does not hold": "성립하지 않음",
    "no difference that matters": "의미 있는 차이 없음",
    "open": "아직 알 수 없음",
    "the claim holds to the right of this line": "이 선의 오른쪽이면 주장이 성립",
    "too small to matter": "의미 없는 크기",
    "effect ({unit})": "효과 ({unit})",
    "{unit}; logarithmic": "{unit}, 로그 눈금",
    "{unit}; logarithmic beyond {value}": "{unit}, {value} 밖은 로그 눈금",
    "percentage points": "%p",
    "ratios": "배수",
    "decades of learning rate": "학습률의 decade",
    "{arm} against {other}": "{arm} (비교 대상: {other})",
    "{rule}, {num} steps": "{rule}, {num} 스텝",
    "{num} steps": "{num} 스텝",
    "{length}: from {low} to {high}, {width} decades": "{length}: {low} ~ {high}, {width} decade",
}


def _pattern(template: str) -> re.Pattern[str]:
    parts = re.split(r"{(\w+)}", template)  # every second one is the name of a field
    forms = {"num": "[0-9]+"}
    fields = [f"(?P<{part}>{forms.get(part, '.+')})" if i % 2 else re.escape(part) for i, part in enumerate(parts)]
    return re.compile("".join(fields))


_CLAIMS = dict(CLAIM_NAMES.values())
_PATTERNS = [(_pattern(english), korean) for english, korean in FIGURE_WORDS.items()]


def in_korean(text: str) -> str:
    """A text of a figure, and the texts inside it. A name, such as that of an arm, stays as it is."""
    for pattern, korean in _PATTERNS:
        if match := pattern.fullmatch(text):
            return korean.format(**{name: in_korean(part) for name, part in match.groupdict().items()})
    return _CLAIMS.get(text, text)


def glossary(page: str) -> str:
    """For the Korean Markdown, whose figures are PNG files with English words. Only the audit's figures have names of claims."""
    pairs = FIGURE_WORDS | (_CLAIMS if page == "audit.md" else {})
    words = "\n".join(f"* {_spoken(english)}: {_spoken(korean)}" for english, korean in pairs.items())
    return f"<details><summary>그림 속의 영어</summary>\n\n{words}\n\n</details>"


def _spoken(template: str) -> str:
    return re.sub(r"{\w+}", "…", template)
