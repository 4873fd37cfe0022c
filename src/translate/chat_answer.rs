//! Events of answers become chat chunks, and chunks fold into one body.

use std::sync::Arc;

use async_openai::types::chat::{
    ChatCompletionMessageToolCallChunk, CompletionTokensDetails, CompletionUsage, FinishReason, FunctionCall,
    FunctionCallStream, FunctionType, PromptTokensDetails, Role,
};

use super::chunk_json::{ChunkJson, PieceForm, PieceKind};
use crate::claude::answer::{AnswerEnd, AnswerEvent, StopReason, Usage};
use crate::openai::chat_answer::{
    AnswerHead, AnswerMessage, ChatChunk, ChatCompletion, Choice, ChunkChoice, Delta, ToolCall,
};

/// What a client reads in `message.refusal` when the model declined without a text of its own about it.
const REFUSAL: &str = "The model declined to answer this request.";

/// The form in which a client reads of calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallForm {
    /// As `tool_calls`.
    ToolCalls,
    /// As `function_call`, for requests with `functions`: one call, without an id.
    FunctionCall,
}

/// Makes chunks of the events of one answer or several, which are counted from 0.
#[derive(Debug)]
pub struct ChunkWriter {
    head: AnswerHead,
    /// Whether a model was named: the first that begins stands for all.
    has_model: bool,
    include_usage: bool,
    form: CallForm,
    choices: Vec<ChoiceState>,
    /// How many answers are not at their end.
    open: usize,
    /// The tokens of those that are.
    usage: Usage,
}

/// Where an answer is.
#[derive(Debug, Default)]
struct ChoiceState {
    /// How many calls have begun.
    calls: u32,
    /// The form of the pieces that come at present.
    pieces: Option<PieceForm>,
}

impl ChunkWriter {
    /// For one answer. `id`, `created` (Unix seconds) and `fingerprint` are the same in every chunk; `include_usage` asks for
    /// a last chunk with the usage and for `usage: null` in the others; `form` is that of the calls.
    #[must_use]
    pub fn new(
        id: &str,
        created: u64,
        fingerprint: &'static str,
        include_usage: bool,
        form: CallForm,
    ) -> Self {
        let head = AnswerHead {
            id: id.into(),
            object: "chat.completion.chunk",
            created,
            model: Arc::from(""),
            system_fingerprint: fingerprint,
        };
        let (choices, usage) = (vec![ChoiceState::default()], Usage::default());
        Self { head, has_model: false, include_usage, form, choices, open: 1, usage }
    }

    /// The same for so many answers.
    #[must_use]
    pub fn with_answers(mut self, answers: usize) -> Self {
        self.choices.resize_with(answers, ChoiceState::default);
        self.open = answers;
        self
    }

    /// The chunks of an event of one of the answers: one for a piece of it, up to three at its end. The usage is told once,
    /// when the last has ended.
    #[must_use]
    pub fn on(&mut self, of: usize, event: AnswerEvent) -> Vec<ChatChunk> {
        match event {
            AnswerEvent::Started { model, .. } => {
                if !self.has_model {
                    self.head.model = model.into();
                    self.has_model = true;
                }
                let delta =
                    Delta { role: Some(Role::Assistant), content: Some(String::new()), ..Delta::default() };
                vec![self.chunk(of, delta, None)]
            }
            AnswerEvent::Text(text) => {
                vec![self.chunk(of, Delta { content: Some(text), ..Delta::default() }, None)]
            }
            AnswerEvent::Reasoning(text) => {
                vec![self.chunk(of, Delta { reasoning_content: Some(text), ..Delta::default() }, None)]
            }
            // A client of OpenAI's API has nowhere to keep it.
            AnswerEvent::Signature(_) => Vec::new(),
            AnswerEvent::ToolCall { id, name } => self.begin_call(of, id, name).into_iter().collect(),
            AnswerEvent::ToolArguments(piece) => self.arguments(of, piece).into_iter().collect(),
            AnswerEvent::Ended(end) => self.end(of, &end),
        }
    }

    /// The chunks of an event, as [`ChunkWriter::on`] gives them, each handed to `write` to be written as JSON.
    pub fn write(&mut self, of: usize, event: AnswerEvent, mut write: impl FnMut(ChunkJson<'_>)) {
        match PieceKind::of(&event) {
            Some((kind, text)) => {
                if self.pieces(of).is_none_or(|form| form.kind() != kind) {
                    let form = self.on(of, kind.empty()).first().and_then(|empty| PieceForm::of(kind, empty));
                    self.set_pieces(of, form);
                }
                if let Some(form) = self.pieces(of) {
                    return write(ChunkJson::Piece(form, text));
                }
            }
            // It may change what all chunks share, or to which call the pieces belong.
            None => self.set_pieces(of, None),
        }
        self.on(of, event).iter().for_each(|chunk| write(ChunkJson::Whole(chunk)));
    }

    fn pieces(&self, of: usize) -> Option<&PieceForm> {
        self.choices.get(of)?.pieces.as_ref()
    }

    fn set_pieces(&mut self, of: usize, form: Option<PieceForm>) {
        if let Some(choice) = self.choices.get_mut(of) {
            choice.pieces = form;
        }
    }

    /// Id, type and name are told here and never again: openai-python joins repeated ones.
    fn begin_call(&mut self, of: usize, id: String, name: String) -> Option<ChatChunk> {
        let choice = self.choices.get_mut(of)?;
        let index = choice.calls;
        choice.calls += 1;
        let function = FunctionCallStream { name: Some(name), arguments: Some(String::new()) };
        match self.form {
            CallForm::ToolCalls => Some(self.tool_call(of, index, Some(id), function)),
            CallForm::FunctionCall if index == 0 => Some(self.function_call(of, function)),
            CallForm::FunctionCall => {
                tracing::warn!("the model made a second call where one was allowed; it is left out");
                None
            }
        }
    }

    /// A piece of the arguments of the call that began last.
    fn arguments(&self, of: usize, piece: String) -> Option<ChatChunk> {
        let index = self.choices.get(of)?.calls.checked_sub(1)?;
        let function = FunctionCallStream { name: None, arguments: Some(piece) };
        match self.form {
            CallForm::ToolCalls => Some(self.tool_call(of, index, None, function)),
            CallForm::FunctionCall => (index == 0).then(|| self.function_call(of, function)),
        }
    }

    fn tool_call(
        &self,
        of: usize,
        index: u32,
        id: Option<String>,
        function: FunctionCallStream,
    ) -> ChatChunk {
        let kind = id.is_some().then_some(FunctionType::Function);
        let call = ChatCompletionMessageToolCallChunk { index, id, r#type: kind, function: Some(function) };
        self.chunk(of, Delta { tool_calls: vec![call], ..Delta::default() }, None)
    }

    fn function_call(&self, of: usize, call: FunctionCallStream) -> ChatChunk {
        self.chunk(of, Delta { function_call: Some(call), ..Delta::default() }, None)
    }

    fn end(&mut self, of: usize, end: &AnswerEnd) -> Vec<ChatChunk> {
        let mut chunks = Vec::with_capacity(3);
        if end.reason == StopReason::Refusal {
            let delta = Delta { refusal: Some(REFUSAL.to_owned()), ..Delta::default() };
            chunks.push(self.chunk(of, delta, None));
        }
        chunks.push(self.chunk(of, Delta::default(), Some(finish_reason(&end.reason, self.form))));
        self.usage = self.usage.plus(end.usage);
        self.open = self.open.saturating_sub(1);
        if self.include_usage && self.open == 0 {
            let usage = Some(Some(usage(self.usage)));
            chunks.push(ChatChunk { head: self.head.clone(), choices: Vec::new(), usage });
        }
        chunks
    }

    fn chunk(&self, of: usize, delta: Delta, finish_reason: Option<FinishReason>) -> ChatChunk {
        let choice = ChunkChoice { index: index(of), delta, finish_reason, logprobs: None };
        let usage = self.include_usage.then_some(None);
        ChatChunk { head: self.head.clone(), choices: vec![choice], usage }
    }
}

/// Folds the chunks of all answers into one body.
#[derive(Debug, Default)]
pub struct ChunkFold {
    head: Option<AnswerHead>,
    choices: Vec<ChoiceFold>,
    usage: Option<CompletionUsage>,
}

/// One answer, as far as it has come.
#[derive(Debug, Default)]
struct ChoiceFold {
    content: String,
    reasoning: String,
    refusal: Option<String>,
    tool_calls: Vec<ToolCall>,
    function_call: Option<FunctionCall>,
    finish_reason: Option<FinishReason>,
}

impl ChunkFold {
    /// Takes the next chunk.
    pub fn push(&mut self, chunk: ChatChunk) {
        self.head = Some(chunk.head);
        self.usage = chunk.usage.flatten().or(self.usage.take());
        for choice in chunk.choices {
            let of = usize::try_from(choice.index).unwrap_or(usize::MAX);
            if of >= self.choices.len() {
                self.choices.resize_with(of.saturating_add(1), ChoiceFold::default);
            }
            if let Some(fold) = self.choices.get_mut(of) {
                fold.push(choice);
            }
        }
    }

    /// The body; `None` when the chunks did not end with a finish reason for each answer and the usage.
    #[must_use]
    pub fn finish(self) -> Option<ChatCompletion> {
        let head = AnswerHead { object: "chat.completion", ..self.head? };
        let choices = self.choices.into_iter().enumerate().map(|(of, fold)| fold.finish(of));
        let choices = choices.collect::<Option<Vec<Choice>>>().filter(|choices| !choices.is_empty())?;
        Some(ChatCompletion { head, choices, usage: self.usage? })
    }
}

impl ChoiceFold {
    fn push(&mut self, choice: ChunkChoice) {
        self.content.push_str(choice.delta.content.as_deref().unwrap_or_default());
        self.reasoning.push_str(choice.delta.reasoning_content.as_deref().unwrap_or_default());
        if let Some(refusal) = choice.delta.refusal {
            self.refusal.get_or_insert_default().push_str(&refusal);
        }
        choice.delta.tool_calls.into_iter().for_each(|call| self.push_tool_call(call));
        if let Some(piece) = choice.delta.function_call {
            let nothing = FunctionCall { name: String::new(), arguments: String::new() };
            add(self.function_call.get_or_insert(nothing), &piece);
        }
        self.finish_reason = choice.finish_reason.or(self.finish_reason);
    }

    fn push_tool_call(&mut self, piece: ChatCompletionMessageToolCallChunk) {
        if let (Some(id), Some(kind)) = (piece.id, piece.r#type) {
            let function = FunctionCall { name: String::new(), arguments: String::new() };
            self.tool_calls.push(ToolCall { id, r#type: kind, function });
        }
        let call = usize::try_from(piece.index).ok().and_then(|index| self.tool_calls.get_mut(index));
        if let (Some(call), Some(function)) = (call, piece.function) {
            add(&mut call.function, &function);
        }
    }

    fn finish(self, of: usize) -> Option<Choice> {
        // A refusal or a call without any text has no content; every other answer has one, be it empty.
        let has_calls = !self.tool_calls.is_empty() || self.function_call.is_some();
        let is_whole_without = self.refusal.is_some() || has_calls;
        let content = (!self.content.is_empty() || !is_whole_without).then_some(self.content);
        let message = AnswerMessage {
            role: Role::Assistant,
            content,
            refusal: self.refusal,
            reasoning_content: (!self.reasoning.is_empty()).then_some(self.reasoning),
            tool_calls: self.tool_calls,
            function_call: self.function_call,
        };
        Some(Choice { index: index(of), message, finish_reason: self.finish_reason?, logprobs: None })
    }
}

/// The number of an answer, as the wire has it.
pub(super) fn index(of: usize) -> u32 {
    u32::try_from(of).unwrap_or(u32::MAX)
}

fn add(call: &mut FunctionCall, piece: &FunctionCallStream) {
    call.name.push_str(piece.name.as_deref().unwrap_or_default());
    call.arguments.push_str(piece.arguments.as_deref().unwrap_or_default());
}

/// Why an answer ended, in OpenAI's words.
pub(super) fn finish_reason(reason: &StopReason, form: CallForm) -> FinishReason {
    match reason {
        StopReason::EndTurn | StopReason::StopSequence | StopReason::PauseTurn => FinishReason::Stop,
        StopReason::ToolUse => match form {
            CallForm::ToolCalls => FinishReason::ToolCalls,
            CallForm::FunctionCall => FinishReason::FunctionCall,
        },
        StopReason::MaxTokens | StopReason::ContextWindow => FinishReason::Length,
        StopReason::Refusal => FinishReason::ContentFilter,
        StopReason::Unknown(reason) => {
            tracing::warn!(reason, "the model stopped for an unknown reason; passed on as `stop`");
            FinishReason::Stop
        }
    }
}

/// Token counts in OpenAI's terms. Anthropic counts the parts of the prompt apart; OpenAI's `prompt_tokens` is all of it.
pub(super) fn usage(usage: Usage) -> CompletionUsage {
    let prompt = usage.input.saturating_add(usage.cache_read).saturating_add(usage.cache_creation);
    let total = prompt.saturating_add(usage.output);
    CompletionUsage {
        prompt_tokens: narrow(prompt),
        completion_tokens: narrow(usage.output),
        total_tokens: narrow(total),
        prompt_tokens_details: Some(PromptTokensDetails {
            audio_tokens: Some(0),
            cached_tokens: Some(narrow(usage.cache_read)),
            text_tokens: None,
            image_tokens: None,
            cache_write_tokens: Some(i64::from(narrow(usage.cache_creation))),
        }),
        completion_tokens_details: Some(CompletionTokensDetails {
            accepted_prediction_tokens: Some(0),
            audio_tokens: Some(0),
            reasoning_tokens: Some(narrow(usage.thinking)),
            rejected_prediction_tokens: Some(0),
            text_tokens: None,
        }),
    }
}

fn narrow(count: u64) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests;
