"""The classification task against its definition."""

import torch

from trak_core.tasks import Classification

TASK = Classification()


def _case() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(7, 5, generator=generator, dtype=torch.float64), torch.arange(7) % 5


def test_model_output_is_the_log_odds_of_the_asked_class():
    logits, asked = _case()
    p = logits.softmax(-1)[torch.arange(7), asked]
    torch.testing.assert_close(TASK.model_output(logits, asked), torch.log(p / (1 - p)))


def test_out_to_loss_is_one_minus_the_probability():
    logits, asked = _case()
    p = logits.softmax(-1)[torch.arange(7), asked]
    torch.testing.assert_close(TASK.out_to_loss(logits, asked), 1 - p)


def test_gradient_of_the_loss_is_minus_q_times_the_gradient_of_the_output():
    logits, asked = _case()
    logits.requires_grad_()
    (of_loss,) = torch.autograd.grad(TASK.loss(logits, asked).sum(), logits)
    (of_output,) = torch.autograd.grad(TASK.model_output(logits, asked).sum(), logits)
    torch.testing.assert_close(of_loss, -TASK.out_to_loss(logits, asked)[:, None] * of_output)


def test_loss_is_cross_entropy():
    logits, asked = _case()
    torch.testing.assert_close(
        TASK.loss(logits, asked), torch.nn.functional.cross_entropy(logits, asked, reduction="none")
    )


def test_very_sure_outputs_stay_finite():
    logits = torch.tensor([[200.0, -200.0], [200.0, -200.0]])
    asked = torch.tensor([0, 1])
    assert TASK.model_output(logits, asked).tolist() == [400.0, -400.0]
    assert TASK.out_to_loss(logits, asked).tolist() == [0.0, 1.0]
