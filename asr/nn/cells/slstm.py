"""The sLSTM of xLSTM: an exponential input gate, and a normaliser beside the cell."""

import torch
from torch import Tensor

from asr.nn.cells.cell import LSTM_GATES, GatedCell, Gates, State, StepKernel, step_kernels

NOTHING = -1e9  # the stabiliser before the first step, the logarithm of a weight of 0


class ScalarLstm(GatedCell):
    """Gates i' = exp(i), f' = sigmoid(f), o' = sigmoid(o), z = tanh(g) of the sums W x_t + U h_{t-1} + b.

    c_t = f' c_{t-1} + i' z;  n_t = f' n_{t-1} + i';  h_t = o' c_t / n_t.  Cell and normaliser are kept divided by
    exp(m_t), m_t = max(log f' + m_{t-1}, i): nothing overflows, and h_t is the same.  The memory is c, n and m; the
    recurrent matrix is one head.  Gates: input, forget, cell input, output.
    Source: Beck et al. 2024, "xLSTM: extended long short-term memory", equations 8 to 17.
    """

    gates = 4
    memories = 3
    opens = LSTM_GATES | {"input": "lets the new value in, as its share exp(i) / n of the memory"}
    keep_gate = 1

    def initial_state(self, rows: int) -> State:
        """Return the state before the first step."""
        hidden, memory = super().initial_state(rows)
        memory[:, 2 * self.hidden_size :] = NOTHING
        return hidden, memory

    def gated_step(self, sums: Tensor, state: State) -> tuple[Gates, State]:
        """Return the gates of one step and the state after it."""
        hidden, memory = state
        cell, norm, level = memory.chunk(3, -1)
        i, f, g, o = self.added(sums, hidden).chunk(4, -1)
        log_forget = torch.nn.functional.logsigmoid(f)
        stabiliser = torch.maximum(log_forget + level, i).detach()  # the hidden values do not depend on it
        forget, enter = torch.exp(log_forget + level - stabiliser), torch.exp(i - stabiliser)
        cell, norm = forget * cell + enter * torch.tanh(g), forget * norm + enter
        show, memory = torch.sigmoid(o), torch.cat([cell, norm, stabiliser], -1)
        gates = {"input": enter / norm, "forget": torch.sigmoid(f), "output": show}
        return gates, (show * cell / norm, memory)

    def remembered(self, state: State) -> Tensor:
        """Return what each cell holds: c_t / n_t."""
        cell, norm, _ = state[1].chunk(3, -1)
        return cell / norm

    def kernel(self, device: str) -> StepKernel:
        """Return the compiled steps for a type of device."""
        kernels = step_kernels("slstm", device)
        return StepKernel(kernels.step_forward, kernels.step_backward, kept=self.hidden_size)
