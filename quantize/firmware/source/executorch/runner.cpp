// Runs a .pte on a Linux-class device with ExecuTorch's C++ libraries alone: no Python, no torch.
// Reads six leads x n float32, lead after lead, in host byte order, from a file or stdin; prints a line of logits for each.
//
//   lsemvae_runner model.pte [INPUT]
//
// The leads are I, II, III, aVR, aVL, aVF: the average beat in the model's scale, that is what lsemvae_average_beat of the
// library gives, divided by LSEMVAE_INPUT_ONE. All leads count as measured.

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <fstream>
#include <iostream>
#include <istream>
#include <stdexcept>
#include <string>
#include <vector>

#include <executorch/extension/module/module.h>
#include <executorch/extension/tensor/tensor.h>
#include <executorch/extension/threadpool/threadpool_guard.h>

namespace {

using executorch::aten::ScalarType;
using executorch::aten::SizesType;
using executorch::extension::from_blob;
using executorch::extension::Module;
using executorch::extension::threadpool::NoThreadPoolGuard;
using executorch::runtime::Error;
using executorch::runtime::Tag;
using executorch::runtime::TensorInfo;

constexpr size_t kLeads = 6;
constexpr size_t kInputs = 2;  // signal (1, leads, 1, n), mask (1, leads)
constexpr const char* kMethod = "forward";

[[noreturn]] void fail(const std::string& what) {
  throw std::runtime_error(what);
}

template <class R>
auto& checked(R&& result, const char* what) {
  if (!result.ok()) {
    fail(std::string(what) + ": " + executorch::runtime::to_string(result.error()));
  }
  return *result;
}

std::vector<SizesType> sizes_of(const TensorInfo& info) {
  if (info.scalar_type() != ScalarType::Float) {
    fail("the program does not take float32");
  }
  return {info.sizes().begin(), info.sizes().end()};
}

struct Shapes {
  std::vector<SizesType> signal, mask;
  size_t samples;
};

Shapes shapes_of(Module& module) {
  auto found = module.method_meta(kMethod);
  auto& method = checked(found, "the program does not load");
  if (method.num_inputs() != kInputs || method.num_outputs() == 0) {
    fail("the program is no LS-EMVAE student: it takes other inputs");
  }
  std::vector<std::vector<SizesType>> sizes;
  for (size_t k = 0; k < kInputs; ++k) {
    auto tag = method.input_tag(k);
    if (checked(tag, "an input") != Tag::Tensor) {
      fail("an input of the program is no tensor");
    }
    auto info = method.input_tensor_meta(k);
    sizes.push_back(sizes_of(checked(info, "an input")));
  }
  const auto& signal = sizes[0];
  const std::vector<SizesType> mask{1, static_cast<SizesType>(kLeads)};
  if (signal.size() != 4 || signal[0] != 1 || signal[1] != static_cast<SizesType>(kLeads) || signal[2] != 1 ||
      signal[3] <= 0 || sizes[1] != mask) {
    fail("the program is no LS-EMVAE student of six leads");
  }
  return {signal, mask, static_cast<size_t>(signal[3])};
}

// Whether a whole input was there; an end in the middle of one is an error.
bool read(std::istream& in, std::vector<float>& values) {
  in.read(reinterpret_cast<char*>(values.data()), static_cast<std::streamsize>(values.size() * sizeof(float)));
  const auto got = static_cast<size_t>(in.gcount());
  if (got != 0 && got != values.size() * sizeof(float)) {
    fail("the input ends after " + std::to_string(got) + " of " + std::to_string(values.size() * sizeof(float)) +
         " bytes: it takes 6 x " + std::to_string(values.size() / kLeads) + " float32");
  }
  return got != 0;
}

void run(const char* program, std::istream& in) {
  // Models of this size lose by threads.
  NoThreadPoolGuard single_thread;
  Module module(program);
  const Shapes shapes = shapes_of(module);
  std::vector<float> values(kLeads * shapes.samples), present(kLeads, 1.0f);
  auto signal = from_blob(values.data(), shapes.signal);
  auto mask = from_blob(present.data(), shapes.mask);
  size_t runs = 0;
  for (; read(in, values); ++runs) {
    auto given = module.execute(kMethod, {signal, mask});
    const auto& outputs = checked(given, "the program does not run");
    if (outputs.empty() || !outputs[0].isTensor()) {
      fail("the program gives no logits");
    }
    const auto& logits = outputs[0].toTensor();
    if (logits.scalar_type() != ScalarType::Float) {
      fail("the program gives no float32");
    }
    for (ssize_t k = 0; k < logits.numel(); ++k) {
      // Nine digits bring the very float back.
      std::printf(k == 0 ? "%.9g" : " %.9g", static_cast<double>(logits.const_data_ptr<float>()[k]));
    }
    std::printf("\n");
  }
  if (runs == 0) {
    fail("the input is empty");
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2 && argc != 3) {
    std::fprintf(stderr, "usage: %s model.pte [INPUT]   six leads x n float32, from stdin without INPUT\n", argv[0]);
    return 2;
  }
  try {
    if (argc == 2) {
      run(argv[1], std::cin);
    } else {
      std::ifstream file(argv[2], std::ios::binary);
      if (!file) {
        fail(std::string(argv[2]) + " cannot be read");
      }
      run(argv[1], file);
    }
  } catch (const std::exception& error) {
    std::fflush(stdout);
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
  return 0;
}
