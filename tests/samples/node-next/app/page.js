export default function Page() {
  return <p>next sample answers</p>;
}
