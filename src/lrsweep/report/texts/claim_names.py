"""Short names of the claims of conf/claims.yaml, in English and Korean: headings, links, and the rows of the audit's figures."""

CLAIM_NAMES = {
    "best-range": ("Range of the best rates", "정확도가 가장 높은 구간"),
    "best-trade-off": ("Best trade-off with time", "정확도와 시간의 trade-off"),
    "no-learning": ("No learning below 1e-5", "1e-5 미만은 학습 안 됨"),
    "stops-at-once": ("Early stopping below 1e-5", "1e-5 미만은 조기 종료"),
    "slow-and-lower": ("From 1e-5 to 1e-4", "1e-5에서 1e-4까지"),
    "early-record-gap": ("Why 1e-5 to 1e-4 is worse", "1e-5에서 1e-4까지 낮은 이유"),
    "accuracy-is-fair": ("Accuracy as the measure", "정확도로 성능 재기"),
    "too-large-diverges": ("Too large a rate", "너무 큰 학습률"),
    "too-small-is-slow": ("Too small a rate", "너무 작은 학습률"),
    "local-minimum": ("Stuck in a local minimum", "지역 최적해에 갇힘"),
    "adamw-best": ("AdamW", "AdamW"),
    "adam-1e-3": ("Adam at 1e-3", "Adam의 학습률 1e-3"),
    "optimizer-scale": ("Rates of the optimizers", "옵티마이저별 학습률"),
    "adaptive-robust": ("Adaptive methods", "적응형 방법"),
    "mini-batch": ("Mini-batches", "미니배치"),
    "schedule-beats-fixed": ("Schedule or fixed rate", "스케줄과 고정 학습률"),
    "cosine-warmup-best": ("Warm-up and cosine", "워밍업과 코사인"),
    "step-simple-start": ("Step decay", "스텝 감쇠"),
    "adaptive-needs-schedule": ("Schedules for Adam", "Adam과 스케줄링"),
    "restarts-help": ("Warm restarts", "재시작"),
    "one-cycle": ("1cycle", "1사이클"),
    "exponential-tenfold": ("Exponential decay", "지수 감쇠"),
    "warmup-stabilises": ("Warm-up", "워밍업"),
    "cyclic-range": ("Cycling the rate", "주기적으로 바꾸는 학습률"),
    "finder-works": ("Rate finder", "학습률 범위 검사"),
    "batch-allows-larger": ("Larger batch, larger rate", "큰 배치와 큰 학습률"),
    "grow-batch": ("Growing the batch", "배치 크기 늘리기"),
    "layerwise": ("A rate for each layer", "층마다 다른 학습률"),
    "fine-tuning-small": ("Fine-tuning", "미세 조정"),
    "regularisers": ("Regularisation", "정규화"),
    "batch-norm-faster": ("Batch normalisation", "Batch Normalization"),
    "initialisation": ("Initial weights", "가중치 초기화"),
    "augmentation": ("Data augmentation", "데이터 증강"),
    "activations": ("Activation functions", "활성화 함수"),
    "mixed-precision": ("Mixed precision", "혼합 정밀도"),
    "double-softmax": ("Softmax applied twice", "softmax를 두 번 쓰기"),
}


def name_in_english(claim: str) -> str:
    """The name of the claim with this id; the id if it has none."""
    return CLAIM_NAMES.get(claim, (claim, claim))[0]


def name_in_korean(claim: str) -> str:
    return CLAIM_NAMES.get(claim, (claim, claim))[1]
