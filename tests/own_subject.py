"""A subject as people have theirs: a network with BatchNorm and dropout, trained by Adam in a loop of its own."""

import torch
from sklearn.datasets import load_digits
from torch import nn

import trak_core as tc

N_CLASSES, N_TRAIN, N_TEST = 4, 160, 32
EPOCHS = 8

pixels, digits = load_digits(n_class=N_CLASSES, return_X_y=True)
inputs = torch.tensor(pixels, dtype=torch.float32).reshape(-1, 1, 8, 8) / 16
labels = torch.tensor(digits)
train = inputs[:N_TRAIN], labels[:N_TRAIN]
test = inputs[N_TRAIN : N_TRAIN + N_TEST], labels[N_TRAIN : N_TRAIN + N_TEST]


def make_model() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 6, 3),
        nn.BatchNorm2d(6),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Dropout(0.1),
        nn.Linear(54, 16),
        nn.ReLU(),
        nn.Linear(16, N_CLASSES),
    )


def train_model(indices, seed, log):
    torch.manual_seed(seed)
    model = make_model()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    images, answers = train[0][indices], train[1][indices]
    step = 0
    for _ in range(EPOCHS):
        for batch in torch.randperm(len(images)).split(32):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(images[batch]), answers[batch]).backward()
            optimizer.step()
            step += 1
        log.keep(model, step=step, learning_rate=0.01)
    return model.state_dict()


subject = tc.Subject(
    name="mine",
    train=train,
    test=test,
    task="image_classification",
    make_model=make_model,
    train_model=train_model,
    class_names=["zero", "one", "two", "three"],
    title="Four digits",
)
