// A C interface to ExecuTorch's own libraries, so that a program runs without torch and without ExecuTorch's Python.
//
// Compiled on the machine that runs it, against the installed wheel (`lsemvae-edge runtime build executorch`), and
// called by executorch.py. Everything a file states about itself is untrusted: sizes are bounded before memory is
// taken, and what the runtime refuses comes back as a message.

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdint>
#include <cstring>
#include <exception>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <executorch/extension/data_loader/buffer_data_loader.h>
#include <executorch/extension/memory_allocator/malloc_memory_allocator.h>
#include <executorch/extension/threadpool/threadpool_guard.h>
#include <executorch/runtime/core/evalue.h>
#include <executorch/runtime/core/exec_aten/util/scalar_type_util.h>
#include <executorch/runtime/core/hierarchical_allocator.h>
#include <executorch/runtime/executor/memory_manager.h>
#include <executorch/runtime/executor/method.h>
#include <executorch/runtime/executor/program.h>
#include <executorch/runtime/platform/platform.h>
#include <executorch/runtime/platform/runtime.h>

namespace {

using executorch::aten::ScalarType;
using executorch::aten::SizesType;
using executorch::aten::Tensor;
using executorch::aten::TensorImpl;
using executorch::extension::BufferDataLoader;
using executorch::extension::MallocMemoryAllocator;
using executorch::extension::threadpool::NoThreadPoolGuard;
using executorch::runtime::Error;
using executorch::runtime::EValue;
using executorch::runtime::HierarchicalAllocator;
using executorch::runtime::MemoryManager;
using executorch::runtime::Method;
using executorch::runtime::Program;
using executorch::runtime::Result;
using executorch::runtime::Span;
using executorch::runtime::Tag;
using executorch::runtime::TensorInfo;

constexpr size_t kAlignment = 64;
// XNNPACK's vector kernels read past the end of a buffer; nothing there is used.
constexpr size_t kOverread = 128;
// Far above what a model of a few hundred kilobytes asks for, far below what a kiosk has.
constexpr int64_t kMaxPlannedBytes = 64 << 20;
constexpr size_t kMaxTensors = 64;

// The runtime's own sentence about what went wrong, which its error codes leave out. The first one is kept: it is the
// closest to the cause.
thread_local std::string runtime_said;

void keep_message(
    et_timestamp_t,
    et_pal_log_level_t level,
    const char*,
    const char*,
    size_t,
    const char* message,
    size_t length) {
  if ((level == kError || level == kFatal) && runtime_said.empty()) {
    runtime_said.assign(message, length);
  }
}

struct Buffer {
  Buffer(const Buffer&) = delete;
  Buffer(Buffer&&) = default;
  explicit Buffer(size_t size) : bytes(size + kOverread + kAlignment) {
    void* start = bytes.data();
    size_t space = bytes.size();
    data = static_cast<uint8_t*>(std::align(kAlignment, size, start, space));
  }
  std::vector<uint8_t> bytes;
  uint8_t* data;
};

struct Shape {
  std::vector<SizesType> sizes;
  std::vector<uint8_t> dim_order;
  ScalarType type;
  size_t nbytes;
  bool planned;
};

Shape shape_of(const TensorInfo& info) {
  return {
      {info.sizes().begin(), info.sizes().end()},
      {info.dim_order().begin(), info.dim_order().end()},
      info.scalar_type(),
      info.nbytes(),
      info.is_memory_planned()};
}

// Failures inside this file travel as exceptions up to the C functions, which never let one out.
struct Failure {
  std::string message;
};

[[noreturn]] void fail(const std::string& what, Error error) {
  std::string message = what + ": " + executorch::runtime::to_string(error);
  if (!runtime_said.empty()) {
    message += ", " + runtime_said;
  }
  throw Failure{message};
}

template <class T>
T& checked(Result<T>& result, const char* what) {
  if (!result.ok()) {
    fail(what, result.error());
  }
  return *result;
}

void check(Error error, const char* what) {
  if (error != Error::Ok) {
    fail(what, error);
  }
}

// One method of one program and all the memory that it needs. Never moved: its parts point at each other.
class Loaded {
 public:
  Loaded(const void* data, size_t size, const char* name) : content_(size), loader_(content_.data, size) {
    std::memcpy(content_.data, data, size);
    auto program = Program::load(&loader_, Program::Verification::InternalConsistency);
    program_ = std::make_unique<Program>(std::move(checked(program, "no program")));
    auto meta = program_->method_meta(name);
    const auto& method = checked(meta, "no such method");

    if (method.num_memory_planned_buffers() > kMaxTensors) {
      throw Failure{"the program plans too many buffers"};
    }
    for (size_t i = 0; i < method.num_memory_planned_buffers(); ++i) {
      auto bytes = method.memory_planned_buffer_size(i);
      const int64_t wanted = checked(bytes, "no planned buffer");
      if (wanted < 0 || wanted > kMaxPlannedBytes || (planned_bytes += wanted) > kMaxPlannedBytes) {
        throw Failure{"the program plans more memory than any model of this kind needs"};
      }
      planned_.emplace_back(static_cast<size_t>(wanted));
      spans_.emplace_back(planned_.back().data, static_cast<size_t>(wanted));
    }
    hierarchy_ = std::make_unique<HierarchicalAllocator>(Span<Span<uint8_t>>(spans_.data(), spans_.size()));
    memory_ = std::make_unique<MemoryManager>(&method_memory_, hierarchy_.get(), &temporary_);

    if (method.num_inputs() > kMaxTensors || method.num_outputs() > kMaxTensors) {
      throw Failure{"the program has too many inputs or outputs"};
    }
    for (size_t i = 0; i < method.num_inputs(); ++i) {
      auto tag = method.input_tag(i);
      if (checked(tag, "no input") != Tag::Tensor) {
        throw Failure{"an input of the program is no tensor"};
      }
      auto info = method.input_tensor_meta(i);
      inputs.push_back(shape_of(checked(info, "no input")));
    }
    for (size_t i = 0; i < method.num_outputs(); ++i) {
      auto tag = method.output_tag(i);
      if (checked(tag, "no output") == Tag::Tensor) {
        auto info = method.output_tensor_meta(i);
        outputs.push_back(shape_of(checked(info, "no output")));
      } else {
        outputs.push_back({{}, {}, ScalarType::Undefined, 0, true});
      }
    }
    auto loaded = program_->load_method(name, memory_.get());
    method_ = std::make_unique<Method>(std::move(checked(loaded, "the method does not load")));
    for (const Shape& input : inputs) {
      check_size(input);
      fed_.emplace_back(input.nbytes);
    }
    for (size_t i = 0; i < outputs.size(); ++i) {
      check_size(outputs[i]);
      if (!outputs[i].planned) {
        given_.emplace_back(outputs[i].nbytes);
        check(method_->set_output_data_ptr(given_.back().data, outputs[i].nbytes, i), "an output takes no memory");
      }
    }
  }

  void set_input(size_t index, const void* data, size_t size) {
    Shape& input = inputs.at(index);
    if (size != input.nbytes) {
      throw Failure{"an input has another size"};
    }
    // Kept by this object, as the runtime may hold on to it until the method has run.
    std::memcpy(fed_[index].data, data, size);
    TensorImpl tensor(
        input.type,
        static_cast<ssize_t>(input.sizes.size()),
        input.sizes.data(),
        fed_[index].data,
        input.dim_order.data());
    check(method_->set_input(EValue(Tensor(&tensor)), index), "an input is refused");
  }

  void execute() { check(method_->execute(), "the program does not run"); }

  void get_output(size_t index, void* data, size_t size) {
    const Tensor tensor = output_tensor(index);
    if (tensor.nbytes() != size || tensor.const_data_ptr() == nullptr) {
      throw Failure{"an output has another size"};
    }
    std::memcpy(data, tensor.const_data_ptr(), size);
  }

  // Run once on zeros.
  void try_out() {
    for (size_t i = 0; i < inputs.size(); ++i) {
      const std::vector<uint8_t> zeros(inputs[i].nbytes);
      set_input(i, zeros.data(), zeros.size());
    }
    execute();
  }

  std::string text() {
    if (outputs.size() != 1 || !inputs.empty()) {
      throw Failure{"the method is no constant"};
    }
    const EValue& value = method_->get_output(0);
    if (value.isString()) {
      auto said = value.tryToString();
      return std::string(checked(said, "no text"));
    }
    const Tensor tensor = output_tensor(0);
    if (tensor.scalar_type() != ScalarType::Byte) {
      throw Failure{"the constant is no text"};
    }
    return std::string(static_cast<const char*>(tensor.const_data_ptr()), tensor.nbytes());
  }

  std::vector<Shape> inputs, outputs;
  int64_t planned_bytes = 0;

 private:
  static void check_size(const Shape& shape) {
    if (shape.nbytes > static_cast<size_t>(kMaxPlannedBytes)) {
      throw Failure{"a tensor is larger than any of a model of this kind"};
    }
  }

  Tensor output_tensor(size_t index) {
    if (index >= method_->outputs_size()) {
      throw Failure{"no such output"};
    }
    auto tensor = method_->get_output(index).tryToTensor();
    return checked(tensor, "an output is no tensor");
  }

  Buffer content_;
  BufferDataLoader loader_;
  std::unique_ptr<Program> program_;
  std::vector<Buffer> planned_, fed_, given_;
  std::vector<Span<uint8_t>> spans_;
  MallocMemoryAllocator method_memory_, temporary_;
  std::unique_ptr<HierarchicalAllocator> hierarchy_;
  std::unique_ptr<MemoryManager> memory_;
  std::unique_ptr<Method> method_;  // last: it goes first, while what it points at is still there
};

void prepare() {
  static std::once_flag once;
  std::call_once(once, [] {
    executorch::runtime::runtime_init();
    executorch::runtime::register_pal(executorch::runtime::PalImpl::create(keep_message, __FILE__));
  });
  runtime_said.clear();
}

// Load and run the program in a child first. The runtime checks a program's structure, yet not all that a delegate's
// blob says of itself: of 3000 damaged files, 5 ended in a segmentation fault, and neighbours of those never ended. Such
// a file ends the child instead.
void try_in_child(const void* data, size_t size, const char* name) {
  constexpr unsigned kSeconds = 10;
  int said[2];
  if (pipe(said) != 0) {
    throw Failure{"no pipe to try the program in a child process"};
  }
  const pid_t child = fork();
  if (child == 0) {
    // A crash here is an answer, not an event: no handler of the host's, no core file.
    for (const int number : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGALRM}) {
      std::signal(number, SIG_DFL);
    }
    const rlimit none{0, 0};
    setrlimit(RLIMIT_CORE, &none);
    alarm(kSeconds);
    try {
      Loaded(data, size, name).try_out();
    } catch (const Failure&) {
      // Refused without a crash: the caller meets it again, and has the message.
    } catch (const std::exception&) {
    }
    const char survived = 1;
    _exit(write(said[1], &survived, 1) == 1 ? 0 : 1);
  }
  close(said[1]);
  char survived = 0;
  ssize_t got = -1;
  do {
    got = child < 0 ? 0 : read(said[0], &survived, 1);
  } while (got < 0 && errno == EINTR);
  close(said[0]);
  if (child < 0) {
    throw Failure{"no child process to try the program in"};
  }
  int status = 0;
  pid_t ended;
  do {
    ended = waitpid(child, &status, 0);
  } while (ended < 0 && errno == EINTR);
  if (got != 1) {
    const int number = ended == child && WIFSIGNALED(status) ? WTERMSIG(status) : 0;
    if (number == SIGALRM) {
      throw Failure{"the runtime does not end on it"};
    }
    throw Failure{"the runtime crashes on it with signal " + std::to_string(number)};
  }
}

// Run `work`, and turn whatever it throws into a message of at most `capacity` bytes with its zero.
template <class Work>
int guarded(char* message, size_t capacity, Work work) {
  std::string said;
  try {
    prepare();
    // Models of this size lose by threads, and a kiosk has other work for its cores.
    NoThreadPoolGuard single_thread;
    work();
    return 0;
  } catch (const Failure& failure) {
    said = failure.message;
  } catch (const std::exception& error) {
    said = error.what();
  }
  if (capacity > 0) {
    const size_t length = std::min(said.size(), capacity - 1);
    std::memcpy(message, said.data(), length);
    message[length] = '\0';
  }
  return 1;
}

}  // namespace

#pragma GCC visibility push(default)
extern "C" {

// Raised whenever a function below changes; executorch.py refuses another number.
int lsemvae_abi() {
  return 2;
}

// Load `method` of the program in `data` (copied). Returns 0 and an object to be given back to lsemvae_close.
int lsemvae_open(
    const void* data,
    size_t size,
    const char* method,
    void** opened,
    char* message,
    size_t capacity) {
  return guarded(message, capacity, [&] {
    try_in_child(data, size, method);
    runtime_said.clear();
    *opened = new Loaded(data, size, method);
  });
}

void lsemvae_close(void* opened) {
  delete static_cast<Loaded*>(opened);
}

// Number of inputs, or with `of_outputs` of outputs.
size_t lsemvae_count(const void* opened, int of_outputs) {
  const auto* loaded = static_cast<const Loaded*>(opened);
  return of_outputs ? loaded->outputs.size() : loaded->inputs.size();
}

// Sizes of one tensor. Returns its rank, or -1 if it is not floats, has more than `capacity` dimensions, or is absent.
int lsemvae_shape(const void* opened, int of_outputs, size_t index, int32_t* sizes, size_t capacity) {
  const auto* loaded = static_cast<const Loaded*>(opened);
  const auto& shapes = of_outputs ? loaded->outputs : loaded->inputs;
  if (index >= shapes.size() || shapes[index].type != ScalarType::Float || shapes[index].sizes.size() > capacity) {
    return -1;
  }
  std::copy(shapes[index].sizes.begin(), shapes[index].sizes.end(), sizes);
  return static_cast<int>(shapes[index].sizes.size());
}

// Bytes of the buffers that the method plans; what a delegate takes for itself comes on top.
int64_t lsemvae_planned(const void* opened) {
  return static_cast<const Loaded*>(opened)->planned_bytes;
}

// Run once: `inputs` and `outputs` hold one address for each tensor, the others their sizes in bytes.
int lsemvae_run(
    void* opened,
    const void* const* inputs,
    const size_t* input_bytes,
    void* const* outputs,
    const size_t* output_bytes,
    char* message,
    size_t capacity) {
  auto* loaded = static_cast<Loaded*>(opened);
  return guarded(message, capacity, [&] {
    for (size_t i = 0; i < loaded->inputs.size(); ++i) {
      loaded->set_input(i, inputs[i], input_bytes[i]);
    }
    loaded->execute();
    for (size_t i = 0; i < loaded->outputs.size(); ++i) {
      loaded->get_output(i, outputs[i], output_bytes[i]);
    }
  });
}

// The text that a constant method without inputs returns. Its length goes to `length`; up to `text_capacity` bytes of
// it, without a zero, to `text`.
int lsemvae_text(
    void* opened,
    char* text,
    size_t text_capacity,
    size_t* length,
    char* message,
    size_t capacity) {
  auto* loaded = static_cast<Loaded*>(opened);
  return guarded(message, capacity, [&] {
    loaded->execute();
    const std::string said = loaded->text();
    *length = said.size();
    std::memcpy(text, said.data(), std::min(said.size(), text_capacity));
  });
}

}  // extern "C"
#pragma GCC visibility pop
